"""MobileSAM and SAM 2: their published checkpoints, loaded, checked, and prompted by both generators."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sam_adapt_ros.config import MaskConfig, SamConfig, SamLidarConfig
from sam_adapt_ros.errors import ConfigError, MaskError
from sam_adapt_ros.masks import build
from sam_adapt_ros.masks.promptable_model import PointSampler
from sam_adapt_ros.masks.sam_family import MEMBERS, kind_of, load_sam

MOBILE_SAM, SAM2 = "mobile_sam", "sam2.1_hiera_tiny"


def lively(model: nn.Module) -> nn.Module:
    """Random weights that pass something of every layer on, and predict masks that differ."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                for values in (module.weight, module.running_var):
                    values.copy_(torch.rand(values.shape, generator=generator) * 0.5 + 0.5)
                for values in (module.bias, module.running_mean):
                    values.copy_(torch.randn(values.shape, generator=generator) * 0.1)
            for parameter, values in module.named_parameters(recurse=False):
                if "attention_biases" in parameter:
                    values.copy_(torch.randn(values.shape, generator=generator))
                elif "mask_decoder" in name and values.ndim >= 2:
                    values.mul_(3)
    return model.eval()


@pytest.fixture(scope="session")
def published_mobile_sam():
    """The published code's model."""
    package = pytest.importorskip("mobile_sam", reason="mobile_sam, the published code, is not installed")
    torch.manual_seed(0)
    return lively(package.sam_model_registry["vit_t"](checkpoint=None))


@pytest.fixture(scope="session")
def published_sam2():
    build_sam = pytest.importorskip("sam2.build_sam", reason="sam2 is not installed (extra sam2)")
    torch.manual_seed(0)
    return lively(build_sam.build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu"))


@pytest.fixture(scope="session")
def checkpoints(request, tmp_path_factory):
    """Name of a model -> SamConfig with a checkpoint in its published layout."""
    folder = tmp_path_factory.mktemp("family")

    def of(name: str) -> SamConfig:
        path = folder / f"{name}.pt"
        if not path.exists():
            model = request.getfixturevalue({MOBILE_SAM: "published_mobile_sam", SAM2: "published_sam2"}[name])
            torch.save({"model": model.state_dict()} if name == SAM2 else model.state_dict(), path)
        return SamConfig(
            model=name,
            checkpoint=str(path),
            device="cpu",
            points_per_side=3,
            points_per_batch=5,
            pred_iou_thresh=-1.0,
            stability_score_thresh=0.0,
            box_nms_thresh=1.0,
        )

    return of


def message(config: SamConfig) -> str:
    with pytest.raises(MaskError) as caught:
        load_sam(config)
    return str(caught.value)


def test_mobile_sam_embeds_and_decodes_as_published(published_mobile_sam, checkpoints, scene):
    from mobile_sam import SamPredictor

    view, seen = scene
    predictor = SamPredictor(published_mobile_sam)
    predictor.set_image(view.image)
    model = load_sam(checkpoints(MOBILE_SAM))
    embedding = model.embed(view.image)
    torch.testing.assert_close(embedding.features, predictor.features, rtol=1e-3, atol=1e-4)
    assert predictor.features.std() > 0.1
    decoded = model.decode(embedding, seen.uv[:1])
    _, quality, logits = predictor.predict(seen.uv[:1], np.ones(1), return_logits=True)
    np.testing.assert_allclose(decoded.logits[0], logits, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(decoded.quality[0], quality, rtol=1e-3, atol=1e-3)


def test_sam2_embeds_and_decodes_as_published(published_sam2, checkpoints, scene):
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    view, seen = scene
    predictor = SAM2ImagePredictor(published_sam2)
    predictor.set_image(view.image)
    model = load_sam(checkpoints(SAM2))
    decoded = model.decode(model.embed(view.image), seen.uv[:3])
    rows, columns = seen.pixels(*view.image.shape[:2])
    for prompt in range(3):
        masks, quality, logits = predictor.predict(seen.uv[prompt : prompt + 1], np.ones(1), return_logits=True)
        np.testing.assert_allclose(decoded.logits[prompt].clamp(-32, 32), logits, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(decoded.quality[prompt], quality, rtol=1e-3, atol=1e-4)
        sampler = PointSampler(decoded.frame, rows, columns, (256, 256), model.device)
        np.testing.assert_allclose(sampler(decoded.logits[prompt]), masks[:, rows, columns], rtol=1e-3, atol=1e-3)
    assert np.ptp(masks) > 0.1


@pytest.mark.parametrize("name", [MOBILE_SAM, SAM2])
def test_both_generators_work_with_every_member(name, checkpoints, scene):
    config = MaskConfig(
        generator="sam+sam_lidar", sam=checkpoints(name), sam_lidar=SamLidarConfig(prompts=4, prompts_per_batch=2)
    )
    masks = build(config)(*scene)
    assert set(masks.sources) == {"sam", "sam_lidar"}
    assert 0 < masks.membership.mean() < 1
    assert np.isfinite(masks.scores).all()


@pytest.mark.parametrize(("name", "other"), [(MOBILE_SAM, SAM2), (SAM2, MOBILE_SAM), ("vit_b", MOBILE_SAM)])
def test_another_members_checkpoint_is_named(name, other, checkpoints):
    config = checkpoints(other).model_copy(update={"model": name})
    said = message(config)
    assert f"does not fit masks.sam.model {name}" in said and f"weights of {other}" in said


@pytest.mark.parametrize("name", [MOBILE_SAM, SAM2])
def test_the_checkpoint_shows_which_model_it_is_of(name, checkpoints):
    named, shown = (load_sam(checkpoints(name).model_copy(update={"model": model})) for model in (name, "auto"))
    assert type(shown) is type(named)
    assert all(tensor.equal(named.model.state_dict()[key]) for key, tensor in shown.model.state_dict().items())


def test_a_checkpoint_that_is_not_recognized_is_refused(sam_config, tmp_path):
    said = message(sam_config.model_copy(update={"model": "auto"}))  # of a size that nobody published
    assert sam_config.checkpoint in said and "not recognized" in said and "mobile_sam" in said


@pytest.mark.parametrize("name", [MOBILE_SAM, SAM2])
def test_shapes_are_checked(name, checkpoints, tmp_path):
    config = checkpoints(name)
    content = torch.load(config.checkpoint, weights_only=True)
    weights = content.get("model", content)
    key = next(key for key in weights if key.endswith("mask_decoder.iou_token.weight"))
    weights[key] = torch.zeros(1, 7)
    torch.save(content, tmp_path / "other.pt")
    said = message(config.model_copy(update={"checkpoint": str(tmp_path / "other.pt")}))
    assert "does not fit" in said and "iou_token" in said


@pytest.mark.parametrize("name", [MOBILE_SAM, SAM2])
@pytest.mark.parametrize("damage", ["missing", "cut", "trap"])
def test_bad_files(name, damage, checkpoints, tmp_path):
    class Trap:
        def __reduce__(self):
            return (type(tmp_path).touch, (tmp_path / "ran",))

    config, path = checkpoints(name), tmp_path / "bad.pt"
    if damage == "cut":
        with open(config.checkpoint, "rb") as file:  # noqa: PTH123
            path.write_bytes(file.read(10_000_000))
    elif damage == "trap":
        torch.save({"model": {"weight": Trap()}}, path)
    said = message(config.model_copy(update={"checkpoint": str(path)}))
    assert str(path) in said
    assert not (tmp_path / "ran").exists()


def test_every_published_sam2_is_a_member():
    build_sam = pytest.importorskip("sam2.build_sam", reason="sam2 is not installed (extra sam2)")
    published = {Path(file).stem for _, file in build_sam.HF_MODEL_ID_TO_FILENAMES.values()}
    assert published == {name for name in MEMBERS if name.startswith("sam2")}


@pytest.mark.parametrize("name", ["sam2_hiera_tiny", "sam2.1_hiera_small", "sam2.1_hiera_base_plus"])
def test_every_size_of_sam2_can_be_built_and_is_recognized(name):
    sam2_model = pytest.importorskip("sam_adapt_ros.masks.sam2_model", reason="sam2 is not installed (extra sam2)")
    assert kind_of(sam2_model.build_sam2_model(name).state_dict()) == name


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h", MOBILE_SAM])
def test_every_member_is_recognized(name, request):
    if name == MOBILE_SAM:
        weights = request.getfixturevalue("published_mobile_sam").state_dict()
    else:
        with torch.device("meta"):
            weights = MEMBERS[name](name).build().state_dict()
    assert kind_of(weights) == name
    assert kind_of({"weight": torch.zeros(1)}) is None


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sam2.build_sam", None)
    monkeypatch.delitem(sys.modules, "sam_adapt_ros.masks.sam2_model", raising=False)
    torch.save({"model": {"no_obj_embed_spatial": torch.zeros(1, 64)}}, tmp_path / "sam2.pt")
    said = message(SamConfig(model=SAM2, checkpoint=str(tmp_path / "sam2.pt"), device="cpu"))
    assert SAM2 in said and "sam_adapt_ros[sam2]" in said


def test_cuda_is_refused_where_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"^masks\.sam\.device: cuda"):
        load_sam(SamConfig(checkpoint=str(tmp_path / "sam.pt"), device="cuda"))


@pytest.mark.usefixtures("full_gpu")
def test_a_gpu_without_free_memory_is_said(sam_config):
    """It is not left for the CPU, where an image takes minutes."""
    with pytest.raises(ConfigError, match=r"^masks\.sam\.device: cuda has no free memory .* or set cpu"):
        load_sam(sam_config.model_copy(update={"device": "auto"}))


def test_nothing_of_a_member_is_imported_before_it_is_chosen():
    code = (
        "import sys, sam_adapt_ros.masks.sam_family\n"
        "print(*{'sam2', 'segment_anything', 'timm'}.intersection(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""
