import json
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation, Slerp

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry import PoseBuffer, TransformTree, invert, make_transform

SECOND = 10**9
T0 = 1_532_402_927 * SECOND  # stamps as in recordings: too long for float64


def drive(stamp_ns):
    """A vehicle that turns slowly at 8 m/s."""
    t = (stamp_ns - T0) / SECOND
    return make_transform((8 * t, 0.3 * t, 0), (0, 0, np.sin(0.1 * t), np.cos(0.1 * t)))


def failure(call) -> CalibrationError:
    with pytest.raises(CalibrationError) as caught:
        call()
    return caught.value


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


def test_a_tree_finds_its_way():
    tree = TransformTree()
    lidar, camera = make_transform((1, 0, 2), (0, 0, 0.1, 1)), make_transform((2, 0.3, 1.5), (0.5, -0.5, 0.5, -0.5))
    tree.add("base_link", "lidar", 0, lidar, static=True)
    tree.add("/base_link", "mount", 0, camera, static=True)
    tree.add("mount", "/camera", 0, lidar, static=True)
    for stamp in (T0, T0 + SECOND):
        tree.add("odom", "base_link", stamp, drive(stamp))
    assert_allclose(tree.lookup("camera", "lidar", T0), invert(camera @ lidar) @ lidar, atol=1e-12)
    assert_allclose(tree.lookup("/lidar", "camera", -5), invert(lidar) @ camera @ lidar, atol=1e-12)
    assert_allclose(
        tree.lookup("odom", "lidar", T0 + SECOND // 2), drive(T0) @ np.eye(4) @ _middle() @ lidar, atol=1e-9
    )
    assert_allclose(tree.lookup("lidar", "odom", T0 + SECOND), invert(drive(T0 + SECOND) @ lidar), atol=1e-9)
    assert_allclose(tree.lookup("lidar", "lidar", 0), np.eye(4))
    assert set(tree.frames()) == {"base_link", "lidar", "mount", "camera", "odom"}


def _middle():
    return drive(T0 + SECOND // 2)


def test_motion_between_two_stamps_is_undone():
    tree = TransformTree()
    camera = make_transform((2, 0.3, 1.5), (0.5, -0.5, 0.5, -0.5))
    tree.add("base_link", "camera", 0, camera, static=True)
    for k in range(11):
        tree.add("odom", "base_link", T0 + k * SECOND // 10, drive(T0 + k * SECOND // 10))
    t_lidar, t_camera = T0 + SECOND // 2, T0 + SECOND * 7 // 10
    got = tree.lookup_full("camera", t_camera, "base_link", t_lidar, "odom")
    expected = invert(drive(t_camera) @ camera) @ drive(t_lidar)
    assert_allclose(got, expected, atol=1e-9)
    assert np.abs(got - invert(camera)).max() > 1  # 8 m/s for 0.2 s
    assert_allclose(tree.lookup_full("camera", t_lidar, "base_link", t_lidar, "odom"), invert(camera), atol=1e-9)


def test_what_a_tree_cannot_tell_is_named():
    tree = TransformTree()
    error = failure(lambda: tree.lookup("camera", "lidar", T0))
    assert error.reason == "transform_missing" and "'lidar'" in str(error)
    tree.add("base_link", "lidar", 0, np.eye(4), static=True)
    tree.add("elsewhere", "camera", 0, np.eye(4), static=True)
    error = failure(lambda: tree.lookup("camera", "lidar", T0))
    assert error.reason == "transform_missing" and "not connected" in str(error)
    tree.add("odom", "base_link", T0, drive(T0))
    tree.add("odom", "base_link", T0 + SECOND, drive(T0 + SECOND))
    for stamp, reason in ((T0 - 1, "transform_early"), (T0 + SECOND + 1, "transform_late")):
        for target, source in (("odom", "lidar"), ("lidar", "odom")):
            error = failure(lambda t=target, s=source, at=stamp: tree.lookup(t, s, at))
            assert error.reason == reason and "odom" in str(error) and "base_link" in str(error)
    tree.add("elsewhere", "odom", 0, np.eye(4), static=True)  # connects what was not
    assert_allclose(tree.lookup("camera", "odom", T0), np.eye(4))


@pytest.mark.parametrize(
    ("parent", "child", "T"),
    [
        ("", "a", np.eye(4)),
        ("a", "", np.eye(4)),
        ("a", "/a", np.eye(4)),
        ("a", "b", np.eye(3)),
        ("a", "b", np.full((4, 4), np.nan)),
        ("a", "b", np.diag([2.0, 1, 1, 1])),
        ("a", "b", np.diag([-1.0, 1, 1, 1])),
    ],
)
def test_what_is_no_edge_is_refused(parent, child, T):
    tree = TransformTree()
    with pytest.raises(CalibrationError):
        tree.add(parent, child, 0, T, static=True)
    assert tree.frames() == ()


def test_two_parents_do_not_flap():
    """map -> base_link from localization, odom -> base_link from odometry: each look-up takes its own way."""
    tree = TransformTree()
    for k in range(3):
        stamp = T0 + k * SECOND
        tree.add("map", "base_link", stamp, make_transform((100, k, 0), (0, 0, 0, 1)))
        tree.add("odom", "base_link", stamp, make_transform((k, 0, 0), (0, 0, 0, 1)))
        assert_allclose(tree.lookup("odom", "base_link", stamp)[:3, 3], (k, 0, 0))
        assert_allclose(tree.lookup("map", "base_link", stamp)[:3, 3], (100, k, 0))


def test_an_edge_may_become_moving_and_static_again():
    tree = TransformTree()
    tree.add("a", "b", 0, np.eye(4), static=True)
    tree.add("a", "b", T0, drive(T0 + SECOND))
    assert failure(lambda: tree.lookup("a", "b", T0 + 1)).reason == "transform_late"
    tree.add("a", "b", 0, np.eye(4), static=True)
    assert_allclose(tree.lookup("a", "b", T0 + 1), np.eye(4))


def test_the_frame_that_something_moves_in():
    tree = TransformTree()
    assert tree.fixed_above("base_link") is None
    tree.add("base_link", "lidar", 0, np.eye(4), static=True)
    assert tree.fixed_above("lidar") is None
    tree.add("odom", "base_link", T0, np.eye(4))
    tree.add("map", "odom", 0, np.eye(4), static=True)
    assert tree.fixed_above("/lidar") == "map"
    assert tree.fixed_above("map") is None


def test_writing_and_reading_at_once():
    tree = TransformTree()
    tree.add("odom", "base_link", T0, drive(T0))
    errors = []

    def write():
        for k in range(1, 2000):
            tree.add("odom", "base_link", T0 + k * SECOND // 1000, drive(T0 + k * SECOND // 1000))

    def read():
        for k in range(2000):
            try:
                stamp = T0 + k * SECOND // 1000
                assert_allclose(tree.lookup("odom", "base_link", stamp), drive(stamp), atol=1e-6)
            except CalibrationError:
                pass
            except Exception as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=work) for work in (write, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def _nuscenes(real_data):
    folder = real_data / "nuscenes_keyframe/v1.0-mini"
    tables = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in ("sample_data", "ego_pose", "calibrated_sensor", "sensor")
    }
    by_token = {name: {row["token"]: row for row in rows} for name, rows in tables.items()}
    for row in tables["sample_data"]:
        sensor = by_token["calibrated_sensor"][row["calibrated_sensor_token"]]
        channel = by_token["sensor"][sensor["sensor_token"]]["channel"]
        yield channel, row["timestamp"] * 1000, by_token["ego_pose"][row["ego_pose_token"]], sensor


def _slow_matrix(record, inverse=False):
    w, x, y, z = record["rotation"]
    T = np.eye(4)
    T[:3, :3] = Rotation.from_quat((x, y, z, w)).as_matrix()
    T[:3, 3] = record["translation"]
    return np.linalg.inv(T) if inverse else T


def test_a_nuscenes_keyframe_chains_through_the_world(real_data):
    """lidar -> ego(t_lidar) -> global -> ego(t_camera) -> camera, as the data set's own tools do it."""
    tree = TransformTree()
    rows = {channel: rest for channel, *rest in _nuscenes(real_data)}
    for channel, (stamp, ego, sensor) in rows.items():
        w, x, y, z = ego["rotation"]
        tree.add("map", "base_link", stamp, make_transform(ego["translation"], (x, y, z, w)))
        w, x, y, z = sensor["rotation"]
        tree.add("base_link", channel, 0, make_transform(sensor["translation"], (x, y, z, w)), static=True)
    t_lidar, ego_lidar, lidar = rows["LIDAR_TOP"]
    cameras = [channel for channel in rows if channel.startswith("CAM")]
    assert len(cameras) == 6
    for channel in cameras:
        t_camera, ego_camera, camera = rows[channel]
        expected = (
            _slow_matrix(camera, True) @ _slow_matrix(ego_camera, True) @ _slow_matrix(ego_lidar) @ _slow_matrix(lidar)
        )
        got = tree.lookup_full(channel, t_camera, "LIDAR_TOP", t_lidar, "map")
        assert np.abs(got - expected).max() < 1e-6
    still = tree.lookup("CAM_FRONT", "LIDAR_TOP", t_lidar)
    moved = tree.lookup_full("CAM_FRONT", rows["CAM_FRONT"][0], "LIDAR_TOP", t_lidar, "map")
    assert 0.2 < np.abs(still - moved).max() < 0.4  # the ego motion that must not be left out
