import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation, Slerp

from sam_adapt_ros.geometry import invert, make_transform, quaternion_from_matrix, transform_points
from sam_adapt_ros.geometry.transforms import interpolate, is_rotation
from sam_adapt_ros.geometry.voxels import voxelize

numbers = st.floats(-1, 1, allow_nan=False)
quaternions = st.tuples(numbers, numbers, numbers, numbers).filter(lambda q: np.linalg.norm(q) > 0.05)
translations = st.tuples(*[st.floats(-1000, 1000)] * 3)


@given(translations, quaternions)
def test_matrices_equal_scipy(translation, quaternion):
    T = make_transform(translation, quaternion)
    assert_allclose(T[:3, :3], Rotation.from_quat(quaternion).as_matrix(), atol=1e-12)
    assert_allclose(T[:3, 3], translation)
    assert_allclose(T[3], (0, 0, 0, 1))
    assert_allclose(invert(T) @ T, np.eye(4), atol=1e-9)


@given(quaternions)
def test_quaternions_come_back(quaternion):
    T = make_transform((0, 0, 0), quaternion)
    x, y, z, w = quaternion_from_matrix(T)
    assert w >= 0
    assert_allclose(np.linalg.norm((x, y, z, w)), 1, atol=1e-12)
    assert_allclose(make_transform((0, 0, 0), (x, y, z, w)), T, atol=1e-12)


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 1)])
def test_half_turns(axis):
    R = Rotation.from_rotvec(np.pi * np.array(axis) / np.linalg.norm(axis)).as_matrix()
    assert_allclose(make_transform((0, 0, 0), quaternion_from_matrix(R))[:3, :3], R, atol=1e-12)


@pytest.mark.parametrize(
    ("translation", "quaternion"),
    [
        ((0, 0, 0), (0, 0, 0, 0)),
        ((np.nan, 0, 0), (0, 0, 0, 1)),
        ((0, 0, 0), (np.nan, 0, 0, 1)),
        ((np.inf, 0, 0), (0, 0, 0, 1)),
    ],
)
def test_what_is_no_transform_is_refused(translation, quaternion):
    with pytest.raises(ValueError, match="finite translation and non-zero quaternion"):
        make_transform(translation, quaternion)


@given(quaternions, st.sampled_from([0, 1, 2]), st.floats(1.01, 100), st.booleans())
def test_matrices_that_mirror_scale_or_shear_are_no_rotations(quaternion, axis, factor, smaller):
    R = make_transform((0, 0, 0), quaternion)[:3, :3]
    assert is_rotation(R)
    assert is_rotation(R.round(4))  # as in text files
    mirror, stretch, shear = np.eye(3), np.eye(3), np.eye(3)
    mirror[axis, axis] = -1
    stretch[axis, axis] = shear[axis, axis - 1] = 1 / factor if smaller else factor
    for wrong in (R @ mirror, -R, R * stretch[axis, axis], R @ stretch, R @ shear, R * np.nan):
        assert not is_rotation(wrong)


@given(translations, quaternions)
def test_points_equal_the_definition(translation, quaternion):
    points = np.random.default_rng(0).uniform(-100, 100, (50, 3)).astype(np.float32)
    T = make_transform(translation, quaternion)
    got = transform_points(T, points)
    assert got.dtype == np.float32 and got.flags.c_contiguous
    expected = np.array([T[:3, :3] @ p + T[:3, 3] for p in points.astype(np.float64)])
    assert_allclose(got, expected, atol=3e-4)


def test_non_finite_points_stay_so():
    points = np.array([[np.nan, 1, 2], [1, np.inf, 2], [1, 2, 3]], np.float32)
    got = transform_points(make_transform((1, 1, 1), (0.1, 0.2, 0.3, 0.9)), points)
    assert not np.isfinite(got[0]).any() and not np.isfinite(got[1]).all() and np.isfinite(got[2]).all()
    assert transform_points(np.eye(4), np.empty((0, 3), np.float32)).shape == (0, 3)


@settings(deadline=None)
@given(translations, quaternions, translations, quaternions, st.floats(0, 1))
def test_interpolation_equals_scipys_slerp(ta, qa, tb, qb, fraction):
    both = Rotation.from_quat([qa, qb])
    if (both[0].inv() * both[1]).magnitude() > np.pi - 1e-3:
        return  # either way round is right
    got = interpolate(make_transform(ta, qa), make_transform(tb, qb), fraction)
    assert_allclose(got[:3, :3], Slerp([0, 1], both)(fraction).as_matrix(), atol=1e-9)
    assert_allclose(got[:3, 3], np.array(ta) + fraction * (np.array(tb) - ta), atol=1e-9)


def test_beyond_the_ends_the_motion_goes_on():
    turn = make_transform((1, 0, 0), (0, 0, np.sin(0.05), np.cos(0.05)))  # 0.1 rad
    got = interpolate(np.eye(4), turn, 3.0)
    assert_allclose(Rotation.from_matrix(got[:3, :3]).as_rotvec(), (0, 0, 0.3), atol=1e-12)
    assert_allclose(got[:3, 3], (3, 0, 0))


@pytest.mark.parametrize("angle", [1e-12, 1e-9, 1e-7, 1e-4])
def test_tiny_turns_keep_their_digits(angle):
    turn = make_transform((0, 0, 0), (0, 0, np.sin(angle / 2), np.cos(angle / 2)))
    got = interpolate(np.eye(4), turn, 0.25)
    assert_allclose(got[1, 0], angle / 4, rtol=1e-6)


def test_a_pose_as_far_away_as_may_be_has_voxels():
    points = transform_points(make_transform((1e8, -1e8, 1e8), (0, 0, 0, 1)), np.zeros((1, 3), np.float32))
    assert len(voxelize(points, 0.05)[0]) == 1
    with pytest.raises(ValueError, match="finite translation"):
        make_transform((1.1e8, 0, 0), (0, 0, 0, 1))
