import json
import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation
from vehicle_poses import SECOND, T0, drive, failure

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry import TransformTree, invert, make_transform
from sam_adapt_ros.geometry.transform_tree import MAX_EDGES


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


def test_frames_that_are_made_up_without_end_are_refused_and_named_briefly():
    tree = TransformTree()
    for k in range(MAX_EDGES):
        tree.add("odom", f"body{k}", 0, np.eye(4))
    for static in (False, True):
        with pytest.raises(CalibrationError, match="'late': there are 2000 others already"):
            tree.add("odom", "late", 0, np.eye(4), static)
    tree.add("odom", "body7", 1, np.eye(4))  # those that are known go on
    assert len(tree.frames()) == MAX_EDGES + 1
    with pytest.raises(CalibrationError, match=r"body5, .*and 19.. more") as caught:
        tree.lookup("odom", "unknown", 0)
    assert len(str(caught.value)) < 400
    tree.remove("odom", "body8")
    tree.add("odom", "late", 0, np.eye(4))


def test_two_parents_do_not_flap():
    """map -> base_link from localization, odom -> base_link from odometry: each look-up takes its own way."""
    tree = TransformTree()
    for k in range(3):
        stamp = T0 + k * SECOND
        tree.add("map", "base_link", stamp, make_transform((100, k, 0), (0, 0, 0, 1)))
        tree.add("odom", "base_link", stamp, make_transform((k, 0, 0), (0, 0, 0, 1)))
        assert_allclose(tree.lookup("odom", "base_link", stamp)[:3, 3], (k, 0, 0))
        assert_allclose(tree.lookup("map", "base_link", stamp)[:3, 3], (100, k, 0))


def shifted(x):
    return make_transform((x, 0, 0), (0, 0, 0, 1))


def test_the_newest_parent_wins_at_once_and_the_old_one_is_forgotten():
    """Localization takes over: base_link hung at odom, then at map (tf2: a frame has one parent at a time)."""
    tree = TransformTree()
    tree.add("base_link", "lidar", 0, np.eye(4), static=True)
    for k in range(20):
        tree.add("odom", "base_link", T0 + k * SECOND // 10, shifted(k))
    for k in range(20, 35):
        tree.add("map", "base_link", T0 + k * SECOND // 10, shifted(100 + k))
        assert tree.fixed_above("lidar") == "map"
        assert_allclose(tree.lookup("map", "lidar", T0 + k * SECOND // 10), shifted(100 + k))
    error = failure(lambda: tree.lookup("odom", "lidar", T0 + 34 * SECOND // 10))
    assert error.reason == "transform_missing", "not late: no pose of it will come any more"
    assert "odom" not in tree.frames()


def test_a_sensor_that_is_mounted_elsewhere_follows_its_new_parent():
    tree = TransformTree()
    for arm, x in (("arm_a", 1), ("arm_b", 2)):
        tree.add("base_link", arm, 0, shifted(x), static=True)
    for k in range(20):
        tree.add("arm_a" if k < 10 else "arm_b", "camera", T0 + k * SECOND // 10, shifted(10))
    assert_allclose(tree.lookup("base_link", "camera", T0 + 19 * SECOND // 10), shifted(12))
    assert_allclose(tree.lookup("base_link", "camera", T0 + 11 * SECOND // 10), shifted(12))
    # A sweep from before the change, as long as the old parent is remembered:
    before = T0 + SECOND // 2
    tree = TransformTree()
    for arm, x in (("arm_a", 1), ("arm_b", 2)):
        tree.add("base_link", arm, 0, shifted(x), static=True)
    for k in range(12):
        tree.add("arm_a" if k < 10 else "arm_b", "camera", T0 + k * SECOND // 10, shifted(10))
    assert_allclose(tree.lookup("base_link", "camera", before), shifted(11))


def test_a_static_transform_with_another_parent_replaces_the_first():
    tree = TransformTree()
    tree.add("base_link", "roof", 0, shifted(5), static=True)
    tree.add("base_link", "lidar", 0, shifted(1), static=True)  # a driver's default
    tree.add("roof", "lidar", 0, shifted(1), static=True)  # the calibrated one
    assert_allclose(tree.lookup("base_link", "lidar", T0), shifted(6))
    for k in range(3):
        tree.add("base_link", "lidar", T0 + k, shifted(2))
    assert_allclose(tree.lookup("base_link", "lidar", T0 + 1), shifted(2))
    tree.add("roof", "lidar", 0, shifted(1), static=True)
    assert_allclose(tree.lookup("base_link", "lidar", T0 + 1), shifted(6))


def test_parents_that_go_round_end():
    tree = TransformTree()
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        tree.add(parent, child, 0, np.eye(4), static=True)
    assert tree.fixed_above("a") is None
    assert_allclose(tree.lookup("a", "b", T0), np.eye(4))


def test_how_far_a_stamp_is_outside_the_known_poses():
    tree = TransformTree()
    tree.add("base_link", "lidar", 0, shifted(1), static=True)
    for k in range(11):
        tree.add("odom", "base_link", T0 + k * SECOND // 10, shifted(k))
    for outside in (0.0, 0.25):
        assert tree.seconds_outside("odom", "lidar", T0 + SECOND + round(outside * SECOND)) == outside
        assert tree.seconds_outside("lidar", "odom", T0 - round(outside * SECOND)) == outside
    assert tree.seconds_outside("odom", "lidar", T0 + SECOND // 2) == 0
    assert tree.seconds_outside("base_link", "lidar", T0 + 10 * SECOND) == 0


def test_which_frames_belong_together_is_named():
    tree = TransformTree()
    tree.add("odom", "base_footprint", T0, shifted(0))
    tree.add("base_link", "lidar", 0, shifted(0), static=True)
    text = str(failure(lambda: tree.lookup("odom", "lidar", T0)))
    assert "'odom' is connected with base_footprint, 'lidar' with base_link" in text
    assert not tree.connected("odom", "lidar") and not tree.connected("map", "lidar")
    tree.add("base_footprint", "base_link", 0, shifted(0), static=True)
    assert tree.connected("odom", "lidar") and tree.connected("/lidar", "odom")


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


def test_which_frames_something_moves_in():
    tree = TransformTree()
    tree.add("map", "odom", 0, np.eye(4), static=True)
    tree.add("odom", "footprint", 10**9, np.eye(4))
    tree.add("footprint", "base", 0, np.eye(4), static=True)
    tree.add("base", "lidar", 10**9, np.eye(4))  # as bags have it that publish mountings over /tf
    assert [name for name in (*tree.frames(), "nowhere") if tree.moves_in("/base", name)] == ["map", "odom"]
    assert not tree.moves_in("nowhere", "map")


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
