"""However a LiDAR is mounted, its points get the same labels where the mounting is known."""

import numpy as np
import pytest

from sam_adapt_ros import simulation
from sam_adapt_ros.benchmarks.mounting import mounted
from sam_adapt_ros.config import SegmenterConfig
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation.segmenter import Segmenter


@pytest.fixture(scope="module")
def shipped() -> Segmenter:
    return Segmenter.load("town_small.safetensors", SegmenterConfig())


@pytest.fixture(scope="module")
def level() -> Frame:
    return next(iter(simulation.frames("day", seed=9, frames=1)))


@pytest.mark.parametrize("euler", [(0, 20, 0), (0, -20, 0), (0, 0, 20), (90, 15, -15), (180, 0, 180)])
def test_a_turned_mounting_gives_the_same_labels(
    shipped: Segmenter, level: Frame, euler: tuple[float, float, float]
) -> None:
    frame = mounted(level, *euler, known=True)
    expected, got = shipped(level).labels, shipped(frame).labels
    assert np.mean(got == expected) >= 0.99
    if euler[1]:  # else the network would not notice anyway
        unknown = shipped(mounted(level, *euler, known=False)).labels
        assert np.mean(unknown == expected) < 0.97
