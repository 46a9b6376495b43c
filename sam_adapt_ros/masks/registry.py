"""The mask generators by name, and how the configured one is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.config import MaskConfig
from sam_adapt_ros.errors import MaskError
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.masks.mask_cache import CachedGenerator
from sam_adapt_ros.masks.mask_generator import MaskGenerator
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints


class CombinedGenerator:
    """The masks of several generators, concatenated in order: ``sam_lidar+segments``."""

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
    from sam_adapt_ros.masks.ground_truth_masks import TrueInstances

    return TrueInstances(config.min_points)


def _sam(config: MaskConfig) -> MaskGenerator:
    from sam_adapt_ros.masks.sam_automatic import AutomaticSam
    from sam_adapt_ros.masks.sam_family import load_sam

    return AutomaticSam(load_sam(config.sam), config.sam, config.min_points)


def _sam_lidar(config: MaskConfig) -> MaskGenerator:
    from sam_adapt_ros.masks.sam_family import load_sam
    from sam_adapt_ros.masks.sam_lidar_prompts import LidarPromptedSam

    return LidarPromptedSam(load_sam(config.sam), config.sam, config.sam_lidar, config.min_points)


# Each imports its module only when it is built, since Segment Anything is slow to import and needs a checkpoint.
GENERATORS: dict[str, Callable[[MaskConfig], MaskGenerator]] = {
    "segments": _segments,
    "regions": _regions,
    "instances": _instances,
    "sam": _sam,
    "sam_lidar": _sam_lidar,
}


def generator_names(config: MaskConfig) -> list[str]:
    """The generators that ``config.generator`` joins by "+". Raises MaskError for unknown or repeated names."""
    names = [name.strip() for name in config.generator.split("+")]
    for name in names:
        if name not in GENERATORS:
            raise MaskError(
                f"masks.generator: unknown generator {name!r}; use one of {', '.join(GENERATORS)}, "
                'or several joined by "+"'
            )
    if len(set(names)) != len(names):
        raise MaskError(f"masks.generator: {config.generator!r} names a generator twice; name each once")
    return names


def build(config: MaskConfig) -> MaskGenerator:
    """Builds the generator that ``config.generator`` names, or several joined by "+".

    With ``config.cache`` the masks of each generator are kept on disk and reused.

    Raises:
        MaskError: unknown or repeated names, or a checkpoint that cannot be used.
        ConfigError: no CUDA device.
    """
    names = generator_names(config)
    generators: list[MaskGenerator] = []
    for name in names:
        generator = GENERATORS[name](config)
        generators.append(CachedGenerator(generator, config) if config.cache else generator)
    return generators[0] if len(generators) == 1 else CombinedGenerator(generators)
