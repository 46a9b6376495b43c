"""The Segment Anything models by name, and how the configured one is loaded.

Each is built by the code that its authors published, where that is maintained; nothing of a model is imported before it
is chosen. Its checkpoint is read as published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from sam_adapt_ros.config import SamConfig
from sam_adapt_ros.errors import MaskError
from sam_adapt_ros.masks.checkpoint import read_state_dict, with_weights
from sam_adapt_ros.masks.promptable_model import GridModel


class Member(NamedTuple):
    """One kind of model. build: with random weights. prompted: makes it promptable."""

    build: Callable[[], nn.Module]
    prompted: Callable[[Any], GridModel]


def _segment_anything(name: str) -> Member:
    from segment_anything import sam_model_registry

    from sam_adapt_ros.masks.sam_model import SegmentAnything

    return Member(partial(sam_model_registry[name], checkpoint=None), SegmentAnything)


def _mobile_sam(name: str) -> Member:
    from sam_adapt_ros.masks.mobile_sam import build_mobile_sam
    from sam_adapt_ros.masks.sam_model import SegmentAnything

    return Member(build_mobile_sam, SegmentAnything)


def _sam2(name: str) -> Member:
    from sam_adapt_ros.masks.sam2_model import Sam2, build_sam2_model

    return Member(partial(build_sam2_model, name), Sam2)


_SAM2_SIZES = ("tiny", "small", "base_plus", "large")

MEMBERS: dict[str, Callable[[str], Member]] = {
    **dict.fromkeys(("vit_h", "vit_l", "vit_b"), _segment_anything),
    "mobile_sam": _mobile_sam,
    **dict.fromkeys((f"{each}_hiera_{size}" for each in ("sam2", "sam2.1") for size in _SAM2_SIZES), _sam2),
}
"""Name in ``masks.sam.model`` -> what imports and describes the model. SAM 2's are named as their checkpoints."""

# The extra of this package that brings what a member needs beyond the usual.
_EXTRA: dict[Callable[[str], Member], str] = {_sam2: "sam2", _mobile_sam: "mobile-sam"}


def checkpoint_path(config: SamConfig) -> Path:
    """The checkpoint's file. Raises MaskError when none is given."""
    if not config.checkpoint:
        raise MaskError(
            "masks.sam.checkpoint: no file given; download a checkpoint as the authors of the model publish it and set "
            "this parameter to its path, or choose masks.generator 'segments', which needs no weights"
        )
    return Path(config.checkpoint)


def load_sam(config: SamConfig) -> GridModel:
    """Loads the model ``config.model`` with the weights of ``config.checkpoint`` onto ``config.device``.

    Raises:
        MaskError: unknown model, its package not installed, missing or damaged file, weights of another model.
        ConfigError: no CUDA device, or none with free memory.
    """
    name = config.model
    if name not in ("auto", *MEMBERS):
        raise MaskError(f"masks.sam.model: unknown model {name!r}; use auto or one of {', '.join(MEMBERS)}")
    path = checkpoint_path(config)
    from sam_adapt_ros.segmentation.device import choose_device, move

    device = choose_device(config.device, "masks.sam.device")
    weights = read_state_dict(path, "masks.sam.checkpoint")
    found = kind_of(weights)
    if name == "auto":
        name = found or ""
    if not name:
        raise MaskError(
            f"masks.sam.checkpoint: {path}: not recognized as any of {', '.join(MEMBERS)}; use a checkpoint as its "
            "authors publish it"
        )
    member = _describe(name)
    hint = f"it holds weights of {found}: set that" if found not in (None, name) else "use a checkpoint as published"
    where = f"masks.sam.checkpoint: {path} does not fit masks.sam.model {name}"
    model = with_weights(member.build(), weights, where, hint)
    move(model, device, "masks.sam.device")
    return member.prompted(model.eval().requires_grad_(False))


def _describe(name: str) -> Member:
    try:
        return MEMBERS[name](name)
    except ImportError as error:
        extra = _EXTRA.get(MEMBERS[name])
        hint = f"pip install --no-build-isolation 'sam_adapt_ros[{extra}]'" if extra else "pip install segment-anything"
        raise MaskError(f"masks.sam.model {name}: a package it needs cannot be imported ({error}); {hint}") from None


def kind_of(weights: Mapping[str, Tensor]) -> str | None:
    """The member of the family that a checkpoint belongs to, by its names and shapes; None if none is recognized."""
    if any(name.startswith("image_encoder.layers.") for name in weights):
        return "mobile_sam"
    vit, hiera = (weights.get(f"image_encoder.{each}patch_embed.proj.weight") for each in ("", "trunk."))
    if vit is not None:
        return {1280: "vit_h", 1024: "vit_l", 768: "vit_b"}.get(len(vit))
    if hiera is None:
        return None
    blocks = {name.split(".")[3] for name in weights if name.startswith("image_encoder.trunk.blocks.")}
    size = {(96, 12): "tiny", (96, 16): "small", (112, 24): "base_plus", (144, 48): "large"}.get(
        (len(hiera), len(blocks))
    )
    return size and f"{'sam2.1' if 'no_obj_embed_spatial' in weights else 'sam2'}_hiera_{size}"
