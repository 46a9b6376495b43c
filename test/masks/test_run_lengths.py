"""Run lengths looked up at points, against pycocotools' own decoder."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from sam_adapt_ros.masks.run_lengths import lookup


def encode(mask):
    return coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(1, 70), st.sampled_from([0, 0.001, 0.5, 0.999, 1]))
def test_every_pixel_is_looked_up_as_pycocotools_decodes_it(seed, height, width, share):
    rng = np.random.default_rng(seed)
    masks = rng.random((3, height, width)) < share
    masks[1, : height // 2] ^= True  # long runs, whose lengths take several characters
    rows, columns = rng.integers(0, height, 500), rng.integers(0, width, 500)
    counts = [encode(mask) for mask in masks]
    decoded = np.stack([coco.decode({"size": [height, width], "counts": each.encode()}) for each in counts])
    np.testing.assert_array_equal(lookup(counts, (height, width), rows, columns), decoded[:, rows, columns] > 0)


def test_no_points_and_no_masks():
    nowhere = np.zeros(0, np.int64)
    assert lookup([encode(np.ones((4, 5)))], (4, 5), nowhere, nowhere).shape == (1, 0)
    assert lookup([], (4, 5), np.array([1]), np.array([2])).shape == (0, 1)


@pytest.mark.parametrize("damaged", ["", "5", "h", "\x7f", "é", "ooooooooooooooooooo"])
def test_what_is_no_mask_of_this_size_is_refused(damaged):
    good = encode(np.eye(7, 9))
    with pytest.raises(ValueError, match=r"mask 1: .* 7 x 9"):
        lookup([good, damaged], (7, 9), np.array([3]), np.array([3]))
    with pytest.raises(ValueError, match=r"mask 0: .* 7 x 10"):
        lookup([good], (7, 10), np.array([3]), np.array([3]))
