"""segment_anything's real code: registry, checkpoint file, automatic generator, decoder."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from segment_anything import SamAutomaticMaskGenerator
from torchvision.ops import nms

from sam_adapt_ros.config import MaskConfig, SamConfig, SamLidarConfig
from sam_adapt_ros.errors import MaskError
from sam_adapt_ros.masks import SeenPoints, build, sam_lidar_prompts
from sam_adapt_ros.masks.promptable_model import STABILITY_SCORE_OFFSET, Decoded, LogitFrame
from sam_adapt_ros.masks.sam_automatic import AutomaticSam
from sam_adapt_ros.masks.sam_family import load_sam
from sam_adapt_ros.masks.sam_lidar_prompts import LidarPromptedSam
from sam_adapt_ros.masks.sam_model import SegmentAnything

LIDAR = SamLidarConfig(prompts=24, prompts_per_batch=10)


@pytest.fixture(scope="module")
def sam(sam_config):
    return load_sam(sam_config).model


def test_the_automatic_grid_is_segment_anythings_own(sam, sam_config, scene):
    view, seen = scene
    masks = AutomaticSam(SegmentAnything(sam), sam_config)(view, seen)
    published = SamAutomaticMaskGenerator(
        sam,
        points_per_side=3,
        points_per_batch=5,
        pred_iou_thresh=-1.0,
        stability_score_thresh=0.0,
        stability_score_offset=1.0,
        box_nms_thresh=1.0,
        output_mode="binary_mask",
    ).generate(view.image)
    rows, columns = seen.pixels(*view.image.shape[:2])
    expected = [record for record in published if record["segmentation"][rows, columns].any()]
    assert len(masks) == len(expected) > 3
    for row, record in enumerate(expected):
        assert (masks.membership[row] == record["segmentation"][rows, columns]).all()
        assert masks.areas[row] == record["segmentation"].sum()
        assert masks.scores[row] == pytest.approx(record["predicted_iou"])


def slow_lidar_masks(sam, config, prompts, seen, image):
    """Every candidate upsampled to the image, then looked up at the points' pixels: (M, V) bool, (M,) quality."""
    model = SegmentAnything(sam)
    embedding = model.embed(image)
    decoded = model.decode(embedding, prompts)
    quality = decoded.quality.flatten()
    full = sam.postprocess_masks(decoded.logits, embedding.valid, embedding.image).flatten(0, 1)
    low = decoded.frame.visible(decoded.logits.flatten(0, 1))
    offset = STABILITY_SCORE_OFFSET
    stability = (low > offset).sum((1, 2)) / (low > -offset).sum((1, 2)).clamp(min=1)
    keep = (stability >= config.stability_score_thresh) & (low > 0).any(-1).any(-1)
    if config.pred_iou_thresh > 0:
        keep &= quality > config.pred_iou_thresh
    full, low, quality = full[keep], low[keep], quality[keep]
    boxes = []
    for mask in low > 0:
        y, x = torch.nonzero(mask, as_tuple=True)
        boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
    kept = nms(torch.tensor(boxes).float(), quality, config.box_nms_thresh)
    rows, columns = seen.pixels(*image.shape[:2])
    return (full[kept][:, rows, columns] > 0).numpy(), quality[kept].numpy()


@pytest.mark.parametrize("stability", [0.0, 0.7])
def test_lidar_prompted_masks_equal_the_upsampled_ones(sam, sam_config, scene, stability):
    view, seen = scene
    config = sam_config.model_copy(update={"stability_score_thresh": stability})
    prompts = []

    class Recording(SegmentAnything):
        def decode(self, embedding, points):
            prompts.append(points)
            return super().decode(embedding, points)

    masks = LidarPromptedSam(Recording(sam), config, LIDAR)(view, seen)
    assert [len(batch) for batch in prompts] == [10, 10, 4]
    membership, quality = slow_lidar_masks(sam, config, np.concatenate(prompts), seen, view.image)
    on_some = membership.any(axis=1)
    assert masks.membership.shape == (on_some.sum(), len(seen))
    assert len(masks) > 3
    assert (masks.membership != membership[on_some]).mean() < 1e-3  # logits within rounding of 0
    assert np.allclose(masks.scores, quality[on_some], atol=1e-5)
    assert set(masks.sources) == {"sam_lidar"}


def test_batches_do_not_change_the_masks_of_given_prompts(sam, scene):
    view, seen = scene
    model = SegmentAnything(sam)
    embedding = model.embed(view.image)
    together = model.decode(embedding, seen.uv[:6]).logits
    apart = torch.cat([model.decode(embedding, seen.uv[:6][each : each + 1]).logits for each in range(6)])
    torch.testing.assert_close(together, apart, rtol=1e-3, atol=1e-3)


def test_labelled_points_are_prompted_less(sam, sam_config, scene, monkeypatch):
    monkeypatch.setattr(sam_lidar_prompts, "LABELLED_WEIGHT", 0.2)
    monkeypatch.setattr(sam_lidar_prompts, "COVERED_WEIGHT", 1.0)
    view, seen = scene
    left = seen.uv[:, 0] < view.image.shape[1] / 2
    labels = np.where(left, 2, 255).astype(np.uint8)
    prompts = []

    class Recording(SegmentAnything):
        def decode(self, embedding, points):
            prompts.append(points)
            return super().decode(embedding, points)

    config = SamLidarConfig(prompts=40)
    for given in (None, labels):
        LidarPromptedSam(Recording(sam), sam_config, config)(view, seen, given)
    half = view.image.shape[1] / 2
    without, with_labels = (np.concatenate(part)[:, 0] < half for part in (prompts[:3], prompts[3:]))
    assert with_labels.mean() < without.mean() - 0.1


def test_nothing_is_ever_upsampled(sam, sam_config, scene, monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("upsampled")

    view, seen = scene
    model = SegmentAnything(sam)
    embedding = model.embed(view.image)  # the encoder may interpolate its position embeddings
    monkeypatch.setattr(torch.nn.functional, "interpolate", refuse)
    masks = LidarPromptedSam(model, sam_config, LIDAR).prompt(embedding, view.image.shape[:2], seen)
    assert len(masks) > 0


class Blobs:
    """A promptable model that answers each prompt with one disc around it; quality falls with the row."""

    device = torch.device("cpu")

    def __init__(self, radius):
        self.radius = radius

    def embed(self, image):
        return image.shape[:2]

    def decode(self, embedding, prompts):
        height, width = embedding
        y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
        cell = torch.tensor([64 / width, 64 / height])
        u, v = ((torch.as_tensor(prompts) + 0.5) * cell).T[:, :, None, None]
        logits = self.radius - torch.hypot(x - u, y - v)
        quality = 1 - torch.as_tensor(prompts)[:, 1:] / height
        return Decoded(logits[:, None], quality, LogitFrame((64, 64), (64, 64), (height, width)))


def test_of_overlapping_boxes_the_better_mask_stays(scene):
    view, seen = scene
    config = SamConfig(pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=0.3)
    masks = LidarPromptedSam(Blobs(6.0), config, SamLidarConfig(prompts=80))(view, seen)
    every = LidarPromptedSam(Blobs(6.0), config.model_copy(update={"box_nms_thresh": 1.0}), SamLidarConfig(prompts=80))(
        view, seen
    )
    assert 5 < len(masks) < len(every) == 80
    assert (np.diff(masks.scores) <= 0).all()
    assert masks.scores[0] == every.scores.max()
    # The area is the full-resolution mask's: discs of six cells, cut by the image's border.
    grown = torch.nn.functional.interpolate(
        Blobs(6.0).decode(view.image.shape[:2], np.array([[100.0, 70.0]], np.float32)).logits,
        view.image.shape[:2],
        mode="bilinear",
    )
    disc = float((grown > 0).sum())
    assert every.areas.max() == pytest.approx(disc, rel=0.05)


def test_prompts_go_where_no_mask_is_yet(scene, monkeypatch):
    view, seen = scene
    config = SamConfig(pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=0.9)
    covered = {}
    for weight in (1e-6, 1.0):
        monkeypatch.setattr(sam_lidar_prompts, "COVERED_WEIGHT", weight)
        generator = LidarPromptedSam(Blobs(8.0), config, SamLidarConfig(prompts=24, prompts_per_batch=4))
        covered[weight] = generator(view, seen).membership.any(axis=0).mean()
    assert covered[1e-6] > covered[1.0]
    assert covered[1e-6] > 0.9


def test_no_points_and_no_surviving_masks(sam, sam_config, scene):
    view, seen = scene
    unseen = SeenPoints(seen.points, seen.index[:0], seen.uv[:0], seen.depth[:0])
    strict = sam_config.model_copy(update={"stability_score_thresh": 2.0})
    assert LidarPromptedSam(SegmentAnything(sam), sam_config, LIDAR)(view, unseen).membership.shape == (0, 0)
    assert LidarPromptedSam(SegmentAnything(sam), strict, LIDAR)(view, seen).membership.shape == (0, len(seen))
    assert AutomaticSam(SegmentAnything(sam), strict)(view, seen).membership.shape == (0, len(seen))
    assert AutomaticSam(SegmentAnything(sam), sam_config)(view, unseen).membership.shape == (0, 0)


def test_built_from_the_configuration_and_combined(sam_config, scene):
    view, seen = scene
    config = MaskConfig(generator="sam_lidar+sam+segments", sam=sam_config, sam_lidar=LIDAR)
    masks = build(config)(view, seen)
    assert list(dict.fromkeys(masks.sources)) == ["sam_lidar", "sam", "segments"]
    again = build(config)(view, seen)
    assert (masks.membership == again.membership).all()


def test_weights_are_found_in_whatever_they_are_wrapped_in(sam, sam_config, tmp_path):
    weights = torch.load(sam_config.checkpoint, weights_only=True)
    parallel = {f"module.{name}": tensor for name, tensor in weights.items()}
    compiled = {f"_orig_mod.module.{name}": tensor.half() for name, tensor in weights.items()}
    contents = {
        "model": {"model": weights, "epoch": 3},
        "state_dict": {"epoch": 3, "optimizer": {"state": {0: torch.zeros(2)}}, "state_dict": parallel},
        "twice": {"model": {"state_dict": weights}},
        "parallel": parallel,
        "compiled": {"model": compiled},
    }
    for name, content in contents.items():
        torch.save(content, tmp_path / f"{name}.pth")
    save_file(parallel, tmp_path / "sam.safetensors")
    for path in sorted(tmp_path.iterdir()):
        loaded = load_sam(sam_config.model_copy(update={"checkpoint": str(path)})).model.state_dict()
        tolerance = 1e-3 if path.stem == "compiled" else 0.0
        for name, tensor in sam.state_dict().items():
            torch.testing.assert_close(loaded[name], tensor, rtol=tolerance, atol=tolerance, msg=f"{path} {name}")


def test_predictions_that_are_all_nan_are_an_error(sam_config, scene):
    """Weights may be finite and yet overflow."""
    view, seen = scene
    model = load_sam(sam_config)
    model.model.image_encoder.neck[0].weight.fill_(1e38)
    config = sam_config.model_copy(update={"pred_iou_thresh": 0.5})
    for generator in (LidarPromptedSam(model, config, LIDAR), AutomaticSam(model, config)):
        with pytest.raises(MaskError, match="all predictions of the model are NaN"):
            generator(view, seen)


class TestBadInput:
    def message(self, config: SamConfig) -> str:
        with pytest.raises(MaskError) as caught:
            load_sam(config)
        return str(caught.value)

    def test_no_checkpoint(self, sam_config):
        assert "masks.sam.checkpoint" in self.message(sam_config.model_copy(update={"checkpoint": ""}))

    def test_missing_file(self, sam_config, tmp_path):
        missing = str(tmp_path / "absent.pth")
        assert missing in self.message(sam_config.model_copy(update={"checkpoint": missing}))

    def test_unknown_model(self, sam_config):
        message = self.message(sam_config.model_copy(update={"model": "vit_x"}))
        assert "masks.sam.model" in message and "vit_b" in message

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
    def test_truncated(self, sam_config, tmp_path, share):
        whole = open(sam_config.checkpoint, "rb").read()  # noqa: PTH123, SIM115
        path = tmp_path / "cut.pth"
        path.write_bytes(whole[: int(len(whole) * share)])
        message = self.message(sam_config.model_copy(update={"checkpoint": str(path)}))
        assert str(path) in message and "checkpoint" in message

    def test_another_models_weights(self, sam_config, tmp_path):
        weights = torch.load(sam_config.checkpoint, weights_only=True)
        weights["mask_decoder.iou_token.weight"] = torch.zeros(1, 7)
        path = tmp_path / "other.pth"
        torch.save(weights, path)
        message = self.message(sam_config.model_copy(update={"checkpoint": str(path)}))
        assert "does not fit" in message and "iou_token" in message

    @pytest.mark.parametrize(
        "content", [[1, 2], {"model": {"a": 1}}, {}, torch.zeros(3)], ids=["list", "nested", "empty", "tensor"]
    )
    def test_not_a_state_dict(self, sam_config, tmp_path, content):
        path = tmp_path / "list.pth"
        torch.save(content, path)
        assert "tensors by name" in self.message(sam_config.model_copy(update={"checkpoint": str(path)}))

    def test_code_in_a_checkpoint_is_not_run(self, sam_config, tmp_path):
        class Trap:
            def __reduce__(self):
                return (type(tmp_path).touch, (tmp_path / "ran",))

        path = tmp_path / "trap.pth"
        torch.save({"weight": Trap()}, path)
        message = self.message(sam_config.model_copy(update={"checkpoint": str(path)}))
        assert "not a readable checkpoint" in message and "Python objects" in message and len(message) < 300
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf])
    def test_values_that_are_not_finite(self, sam_config, tmp_path, bad):
        """They would give no masks without a word."""
        weights = torch.load(sam_config.checkpoint, weights_only=True)
        name = "mask_decoder.iou_token.weight"
        weights[name][0, 3] = bad
        torch.save(weights, tmp_path / "nan.pth")
        message = self.message(sam_config.model_copy(update={"checkpoint": str(tmp_path / "nan.pth")}))
        assert "nan.pth" in message and name in message and "not finite" in message

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"<!DOCTYPE html>\n<html><head><title>Sign in</title>" + b"<p>text</p>\n" * 500, "a web page"),
            (b"\xef\xbb\xbf  <?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 99\n", "git lfs pull"),
            (b"Entry not found", "'Entry not found'"),
            (b"", "an empty file"),
        ],
    )
    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_what_downloads_leave_is_named(self, sam_config, tmp_path, content, words, suffix):
        path = tmp_path / f"sam{suffix}"
        path.write_bytes(content)
        message = self.message(sam_config.model_copy(update={"checkpoint": str(path)}))
        assert words in message and len(message) < 300 and "\n" not in message


@pytest.mark.cuda
def test_a_gpu_predicts_the_cpus_masks(sam_config, scene):
    """The decoder computes in float16 there."""
    view, seen = scene
    on_cpu, on_gpu = (load_sam(sam_config.model_copy(update={"device": device})) for device in ("cpu", "cuda"))
    prompts = seen.uv[::200].astype(np.float32)
    expected, found = (model.decode(model.embed(view.image), prompts) for model in (on_cpu, on_gpu))
    assert found.logits.device.type == "cuda"
    apart = (found.logits.float().cpu() - expected.logits).abs().flatten() / expected.logits.std()
    assert apart.quantile(0.999) < 0.05
    torch.testing.assert_close(found.quality.cpu(), expected.quality, rtol=0.02, atol=0.02)
    for generator in (AutomaticSam(on_gpu, sam_config), LidarPromptedSam(on_gpu, sam_config, LIDAR)):
        masks = generator(view, seen)
        assert len(masks) > 3 and masks.membership.shape[1] == len(seen)
