"""Labelled points over images, against a slow reference."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization.overlay import IMAGE_WIDTH_A_RADIUS, draw_overlay

TAXONOMY = Taxonomy.load("town")


def reference(image: np.ndarray, uv: np.ndarray, depth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    canvas = image.copy()
    radius = max(1, round(image.shape[1] / IMAGE_WIDTH_A_RADIUS))
    for n in sorted(range(len(uv)), key=lambda n: -depth[n]):
        u, v = (round(float(x)) for x in uv[n])
        for dv in range(-radius, radius + 1):
            for du in range(-radius, radius + 1):
                inside = 0 <= v + dv < image.shape[0] and 0 <= u + du < image.shape[1]
                if du * du + dv * dv <= radius * radius and inside:
                    canvas[v + dv, u + du] = TAXONOMY.colors[labels[n]]
    return canvas


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.sampled_from([(12, 20), (6, 1300)]))
def test_near_points_lie_over_far_ones(seed: int, count: int, size: tuple[int, int]) -> None:
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 255, (*size, 3), np.uint8)
    uv = generator.uniform((-3, -3), (min(size[1], 30) + 3, size[0] + 3), (count, 2)).astype(np.float32)
    depth = generator.permutation(count).astype(np.float32) + 1
    labels = generator.choice(np.array([*range(len(TAXONOMY)), 255], np.uint8), count)
    before = image.copy()
    np.testing.assert_array_equal(
        draw_overlay(image, uv, depth, TAXONOMY.colors[labels]), reference(image, uv, depth, labels)
    )
    np.testing.assert_array_equal(image, before)


def test_points_that_are_nowhere_are_left_out() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    uv = np.array([[np.nan, 1], [np.inf, 1], [1e30, 1], [1, 1]], np.float32)
    drawn = draw_overlay(image, uv, np.ones(4, np.float32), TAXONOMY.colors[[2, 2, 2, 2]])
    assert (drawn[1, 1] == TAXONOMY.colors[2]).all()
    assert drawn.any(axis=2).sum() == 5
