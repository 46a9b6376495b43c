"""Clouds of a map's frame, brought to their sensor."""

import numpy as np

from sam_adapt_ros.geometry import TransformTree, make_transform
from sam_adapt_ros.messages import encode_cloud
from sam_adapt_ros.messages.point_cloud import read_points
from sam_adapt_ros.messages.sensor_frame import SensorFrame
from sam_adapt_ros.notices import Notices


def sweep(ros, points):
    columns = np.asarray(points, np.float32).T
    return read_points(ros.cloud(encode_cloud(dict(zip("xyz", columns, strict=True))), 1))


def test_what_is_wrong_is_said_as_long_as_it_is_and_of_a_bag_at_its_end(ros):
    """A driver that warms up, and TF that comes after the first registered sweep."""
    tree, notices = TransformTree(), Notices(lambda _: None)
    frame = SensorFrame("base_link", 0.0, notices)
    points, far = np.random.default_rng(0).uniform(-30, 30, (500, 3)), np.array([5000, 4000, 0])
    for _ in range(2):
        frame.bring(tree, sweep(ros, np.full((500, 3), np.nan)), "lidar", 1)
    assert list(notices.as_dict()) == ["no_measurement"]
    assert frame.bring(tree, sweep(ros, points + far), "map", 1).origin is not None
    assert list(notices.as_dict()) == ["lidar_frame"]
    tree.add("map", "base_link", 1, make_transform(far, (0, 0, 0, 1)))
    assert frame.bring(tree, sweep(ros, points + far), "map", 1).frame == "base_link"
    assert not notices.as_dict()
    frame.conclude()
    said = notices.as_dict()
    assert said["no_measurement"].endswith("check the driver (2 sweeps)")
    assert said["lidar_frame"].endswith("set transforms.base_frame")


def test_what_is_no_measurement_stays_none_where_the_cloud_is_moved(ros):
    tree = TransformTree()
    for stamp in (1, 2):
        tree.add("map", "base_link", stamp, make_transform((50, stamp, 0), (0, 0, 0, 1)))
    points = np.random.default_rng(0).uniform((40, -10, 0), (60, 10, 3), (500, 3)).astype(np.float32)
    points[::5] = 0  # as drivers write what did not return
    points[1] = np.nan
    message = ros.cloud(encode_cloud(dict(zip("xyz", points.T, strict=True))), 1)
    got = SensorFrame("base_link", 0.0, Notices()).bring(tree, read_points(message), "map", 1)
    lost = np.zeros(500, bool)
    lost[::5] = lost[1] = True
    assert got.frame == "base_link"
    assert np.isnan(got.points[lost]).all()
    np.testing.assert_allclose(got.points[~lost], points[~lost] - np.float32([50, 1, 0]), atol=1e-5)
