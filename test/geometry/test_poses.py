import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation, Slerp
from vehicle_poses import SECOND, T0, drive, failure

from sam_adapt_ros.geometry import PoseBuffer, make_transform


@settings(deadline=None)
@given(
    stamps=st.lists(st.integers(0, SECOND), min_size=2, max_size=20, unique=True),
    order=st.randoms(use_true_random=False),
    asked=st.integers(0, SECOND),
)
def test_poses_in_any_order_equal_scipys_slerp(stamps, order, asked):
    rng = np.random.default_rng(len(stamps))
    poses = {s: make_transform(rng.normal(0, 10, 3), rng.normal(0, 1, 4)) for s in stamps}
    buffer = PoseBuffer()
    shuffled = list(stamps)
    order.shuffle(shuffled)
    for stamp in shuffled:
        buffer.add(T0 + stamp, poses[stamp])
    known = sorted(stamps)
    if not known[0] <= asked <= known[-1]:
        error = failure(lambda: buffer.lookup(T0 + asked))
        assert error.reason == ("transform_early" if asked < known[0] else "transform_late")
        return
    got = buffer.lookup(T0 + asked)
    rotations = Rotation.from_matrix([poses[s][:3, :3] for s in known])
    assert_allclose(got[:3, :3], Slerp(np.array(known, float), rotations)(asked).as_matrix(), atol=1e-7)
    for axis in range(3):
        assert_allclose(got[axis, 3], np.interp(asked, known, [poses[s][axis, 3] for s in known]), atol=1e-7)


def test_a_known_stamp_gives_the_very_pose():
    buffer = PoseBuffer()
    for k in range(5):
        buffer.add(T0 + k * 10, drive(T0 + k * SECOND))
    got = buffer.lookup(T0 + 20)
    assert (got == drive(T0 + 2 * SECOND)).all()
    got[:] = 0
    assert (buffer.lookup(T0 + 20) == drive(T0 + 2 * SECOND)).all()


def test_a_second_pose_of_the_same_stamp_replaces_the_first():
    buffer = PoseBuffer()
    buffer.add(T0, np.eye(4))
    buffer.add(T0, drive(T0 + SECOND))
    assert len(buffer) == 1
    assert (buffer.lookup(T0) == drive(T0 + SECOND)).all()


def test_nothing_known():
    assert failure(lambda: PoseBuffer().lookup(T0, 1.0)).reason == "transform_missing"


@pytest.mark.parametrize("outside", [0.01, 0.05, 0.1])
def test_extrapolation_at_constant_velocity(outside):
    buffer = PoseBuffer()
    for k in range(21):
        buffer.add(T0 + k * SECOND // 20, drive(T0 + k * SECOND // 20))
    for stamp, reason in (
        (T0 + SECOND + round(outside * SECOND), "transform_late"),
        (T0 - round(outside * SECOND), "transform_early"),
    ):
        assert_allclose(buffer.lookup(stamp, 0.1), drive(stamp), atol=1e-9)
        assert failure(lambda stamp=stamp: buffer.lookup(stamp)).reason == reason
        assert failure(lambda stamp=stamp: buffer.lookup(stamp, outside * 0.9)).reason == reason


def test_extrapolation_takes_velocity_over_a_baseline_that_jitter_cannot_spoil():
    """Odometry at every sensor's stamp: the last two poses are a millisecond apart and each a millimetre off."""
    buffer = PoseBuffer()
    rng = np.random.default_rng(0)
    for k in range(20):
        for offset in (0, SECOND // 1000):
            stamp = T0 + k * SECOND // 20 + offset
            pose = drive(stamp)
            pose[:3, 3] += rng.uniform(-1e-3, 1e-3, 3)
            buffer.add(stamp, pose)
    for ahead, error in ((SECOND // 10, 0.02), (SECOND // 50, 0.005)):
        stamp = T0 + 19 * SECOND // 20 + SECOND // 1000 + ahead
        assert np.abs(buffer.lookup(stamp, 0.1) - drive(stamp)).max() < error


def test_one_pose_is_no_motion_to_extrapolate():
    buffer = PoseBuffer()
    buffer.add(T0, np.eye(4))
    assert failure(lambda: buffer.lookup(T0 + 1, 1.0)).reason == "transform_late"


def test_two_poses_extrapolate_both_ways():
    buffer = PoseBuffer()
    for stamp in (T0, T0 + SECOND // 2):  # 2 Hz, as nuScenes bags have
        buffer.add(stamp, drive(stamp))
    for stamp in (T0 - SECOND // 10, T0 + 6 * SECOND // 10):
        assert_allclose(buffer.lookup(stamp, 0.1), drive(stamp), atol=1e-9)


def test_old_poses_are_forgotten():
    buffer = PoseBuffer(max_age_s=2.0)
    for k in range(100):
        buffer.add(T0 + k * SECOND // 10, drive(T0))
    assert len(buffer) == 21
    assert failure(lambda: buffer.lookup(T0)).reason == "transform_early"


@pytest.mark.parametrize("length", [0.5, 3, 30])
def test_a_looping_bag_starts_anew(length):
    buffer = PoseBuffer()
    for loop in range(3):
        for k in range(int(length * 10) + 1):
            stamp = T0 + k * SECOND // 10
            buffer.add(stamp, drive(stamp))
            assert_allclose(buffer.lookup(stamp), drive(stamp), atol=1e-9), loop
