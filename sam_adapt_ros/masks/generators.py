"""The one interface of all mask generators, and how they are built from the configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import MaskConfig
from sam_adapt_ros.errors import MaskError
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.masks.mask_cache import CachedGenerator
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints


class MaskGenerator(Protocol):
    """Class-agnostic masks of one camera's view of one sweep.

    view: image and calibration. seen: the sweep and the V of its points that the camera sees (and, where hidden points
    were sorted out, only those that it really sees). labels: (V,) uint8 labels that are already there, 255 = none;
    a hint of where masks are needed most, which only ``sam_lidar`` takes.
    Returns masks over the V points. Always the same for the same input. Raises MaskError.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, view: CameraView, seen: SeenPoints, labels: NDArray[np.uint8] | None = None) -> MaskSet: ...


class Combined:
    """Several generators' masks, one after another: ``sam_lidar+segments``."""

    def __init__(self, generators: Sequence[MaskGenerator]) -> None:
        self._generators = tuple(generators)
        self.name = "+".join(generator.name for generator in self._generators)

    def __call__(self, view: CameraView, seen: SeenPoints, labels: NDArray[np.uint8] | None = None) -> MaskSet:
        return MaskSet.concatenate([generator(view, seen, labels) for generator in self._generators])


def _segments(config: MaskConfig) -> MaskGenerator:
    from sam_adapt_ros.masks.lidar_segments import LidarSegments

    return LidarSegments(config.segments, config.min_points)


def _regions(config: MaskConfig) -> MaskGenerator:
    from sam_adapt_ros.masks.image_regions import ImageRegions

    return ImageRegions(config.regions, config.min_points)


def _instances(config: MaskConfig) -> MaskGenerator:
    from sam_adapt_ros.masks.true_instances import TrueInstances

    return TrueInstances(config.min_points)


def _sam(config: MaskConfig) -> MaskGenerator:
    from sam_adapt_ros.masks.sam import AutomaticSam, load_sam

    return AutomaticSam(load_sam(config.sam), config.sam, config.min_points)


def _sam_lidar(config: MaskConfig) -> MaskGenerator:
    from sam_adapt_ros.masks.sam import SegmentAnything, load_sam
    from sam_adapt_ros.masks.sam_lidar_prompts import LidarPromptedMasks

    return LidarPromptedMasks(SegmentAnything(load_sam(config.sam)), config.sam, config.sam_lidar, config.min_points)


# Imported when asked for: torch and a checkpoint are needed by two of them only.
GENERATORS: dict[str, Callable[[MaskConfig], MaskGenerator]] = {
    "segments": _segments,
    "regions": _regions,
    "instances": _instances,
    "sam": _sam,
    "sam_lidar": _sam_lidar,
}


def build(config: MaskConfig) -> MaskGenerator:
    """The generator that ``config.generator`` names: one, or several joined by "+".

    With ``config.cache`` each one's masks are kept on disk and used again.
    Raises MaskError for unknown or repeated names and for checkpoints that cannot be used.
    """
    names = [name.strip() for name in config.generator.split("+")]
    for name in names:
        if name not in GENERATORS:
            raise MaskError(f"masks.generator: unknown generator {name!r} (known: {', '.join(GENERATORS)})")
    if len(set(names)) != len(names):
        raise MaskError(f"masks.generator: {config.generator!r} names a generator twice")
    generators: list[MaskGenerator] = []
    for name in names:
        generator = GENERATORS[name](config)
        generators.append(CachedGenerator(generator, config) if config.cache else generator)
    return generators[0] if len(generators) == 1 else Combined(generators)
