import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from sam_adapt_ros.geometry import voxelize


def slow_voxelize(points, voxel_size):
    cells = [tuple(int(np.floor(np.float64(value) / voxel_size)) for value in point) for point in points]
    occupied = sorted(set(cells))
    return np.array(occupied).reshape(-1, 3), np.array([occupied.index(cell) for cell in cells], np.int64)


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(0, 30), st.just(3)), elements=st.floats(-50, 50, width=32)),
    st.sampled_from([0.05, 0.1, 1.0, 0.3, 7.0]),
)
def test_voxels_equal_the_slow_reference(points, voxel_size):
    coordinates, inverse = voxelize(points, voxel_size)
    expected, expected_inverse = slow_voxelize(points, voxel_size)
    assert coordinates.dtype == np.int32 and inverse.dtype == np.int64
    assert_array_equal(coordinates, expected)
    assert_array_equal(inverse, expected_inverse)


def test_points_on_both_sides_of_zero_do_not_share_a_voxel():
    points = np.array([[0.01, 0, 0], [-0.01, 0, 0], [-0.0, 0, 0], [-1e-40, 0, 0]], np.float32)
    coordinates, inverse = voxelize(points, 0.05)
    assert_array_equal(coordinates[inverse][:, 0], [0, -1, 0, -1])


def test_one_far_point_does_not_disturb_the_others():
    points = np.array([[1e6, 2e6, -1e6], [0, 0, 0], [0.04, 0, 0]], np.float32)
    coordinates, inverse = voxelize(points, 0.1)
    assert len(coordinates) == 2 and inverse[1] == inverse[2]
    assert coordinates.dtype == np.int32 and inverse.dtype == np.int64 and inverse.shape == (3,)
    assert_array_equal(coordinates, slow_voxelize(points, 0.1)[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_points_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        voxelize(np.array([[0, 0, 0], [0, bad, 0]], np.float32), 0.05)


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match="within"):
        voxelize(np.array([[1e12, 0, 0]]), 0.05)
    with pytest.raises(ValueError, match="positive"):
        voxelize(np.zeros((1, 3)), 0.0)
