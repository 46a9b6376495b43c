"""The map that the poses of several bags are put on."""

import numpy as np

from sam_adapt_ros.bags.drive_maps import DriveMaps
from sam_adapt_ros.frame import Frame


def frame(seconds: float, position: tuple[float, float, float] | None) -> Frame:
    pose = None
    if position is not None:
        pose = np.eye(4)
        pose[:3, 3] = position
    return Frame(round(seconds * 1e9), "lidar", np.zeros((0, 3), np.float32), T_odom_lidar=pose)


def placed(maps: DriveMaps, number: int, seconds: float, *position: float) -> list[float]:
    given = frame(seconds, (position[0], position[1], position[2]))
    found = maps.place(number, given)
    assert found.T_odom_lidar is not None and given.T_odom_lidar is not None
    assert found.stamp_ns == given.stamp_ns
    np.testing.assert_array_equal(found.T_odom_lidar[:, :3], given.T_odom_lidar[:, :3])
    assert given.T_odom_lidar[:3, 3].tolist() == list(position)  # the frame given stays as it is
    return found.T_odom_lidar[:3, 3].tolist()


def test_bags_whose_odometry_and_stamps_begin_anew_are_at_different_places_and_stay_there() -> None:
    maps = DriveMaps()
    for _ in range(2):  # a second pass is a second lap
        assert placed(maps, 0, 0.0, 3.0, 4.0, 1.0) == [3.0, 4.0, 1.0]
        assert placed(maps, 0, 8.0, 25.0, 4.0, 1.0) == [25.0, 4.0, 1.0]
        assert placed(maps, 1, 0.0, 0.0, 0.0, 0.0) == [100_003.0, 4.0, 1.0]
        assert placed(maps, 1, 8.0, 20.0, 1.0, 0.0) == [100_023.0, 5.0, 1.0]
        assert placed(maps, 2, 1e9, -7.0, 0.0, 0.0) == [200_003.0, 4.0, 1.0]


def test_the_parts_of_one_recording_are_one_drive() -> None:
    maps = DriveMaps()
    placed(maps, 0, 0.0, 0.0, 0.0, 0.0)
    placed(maps, 1, 500.0, 0.0, 0.0, 0.0)
    assert placed(maps, 1, 501.0, 10.0, 0.0, 0.0) == [100_010.0, 0.0, 0.0]
    assert placed(maps, 2, 501.1, 11.0, 0.0, 0.0) == [100_011.0, 0.0, 0.0]
    assert placed(maps, 3, 502.1, 80.0, 0.0, 0.0) == [300_000.0, 0.0, 0.0]  # nothing drives 69 m in a second
    assert placed(maps, 4, 520.0, 81.0, 0.0, 0.0) == [400_000.0, 0.0, 0.0]  # a pause: it may be anywhere


def test_frames_without_odometry_stay_as_they_are() -> None:
    maps = DriveMaps()
    bare, broken = frame(0.0, None), frame(0.1, (np.nan, 0.0, 0.0))
    assert maps.place(0, bare) is bare
    assert maps.place(0, broken) is broken
    assert placed(maps, 1, 0.2, 1.0, 2.0, 0.0) == [1.0, 2.0, 0.0]
    assert placed(maps, 2, 0.2, 1.0, 2.0, 0.0) == [200_001.0, 2.0, 0.0]
