"""GAPP on a real sweep, and the benchmark that measures it."""

import numpy as np
import pytest

from sam_adapt_ros.benchmarks import nuscenes_boxes

IGNORE = 255


@pytest.fixture(scope="module")
def frame(real_data):
    return nuscenes_boxes.read(real_data / "nuscenes_keyframe")


def test_points_in_boxes_are_those_of_the_labels(frame, real_data):
    (labels,) = (real_data / "nuscenes_keyframe" / "lidarseg").rglob("*_lidarseg.bin")
    np.testing.assert_array_equal(frame.truth, np.fromfile(labels, np.uint8))


def test_a_boxs_points_are_on_its_mask(frame):
    assert len(frame.views) == 6
    for view in frame.views:
        boxes = frame.box[view.index]
        for row in view.membership:
            held = np.bincount(boxes[row][boxes[row] >= 0])
            assert held.max() == (boxes == held.argmax()).sum() or held.max() >= 3
    assert sum(len(view.areas) for view in frame.views) > 40


def test_seeds_are_a_share_of_each_box(frame):
    labels = frame.seeds(0.3, seed=0)
    chosen = labels != IGNORE
    np.testing.assert_array_equal(labels[chosen], frame.truth[chosen])
    sizes = np.bincount(frame.box[frame.box >= 0])
    np.testing.assert_array_equal(
        np.bincount(frame.box[chosen], minlength=len(sizes)), [round(0.3 * size) for size in sizes]
    )


def test_gapp_keeps_out_what_direct_propagation_lets_in(frame):
    figures = {}
    for propagation in ("gapp", "direct", "none"):
        pairs = [
            nuscenes_boxes.precision_and_recall(
                nuscenes_boxes.measure(
                    frame, nuscenes_boxes.CONFIG.model_copy(update={"propagation": propagation}), seed=seed
                )
            )
            for seed in range(4)
        ]
        figures[propagation] = np.mean(pairs, axis=0)
    assert figures["gapp"][0] >= 0.98
    assert figures["gapp"][1] >= figures["direct"][1] - 0.02
    assert 0.80 < figures["direct"][0] < 0.90
    assert figures["none"][1] == 0
