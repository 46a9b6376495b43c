"""Clouds of a map's frame, brought to their sensor."""

import numpy as np

from sam_adapt_ros.geometry import TransformTree, make_transform
from sam_adapt_ros.messages import encode_cloud
from sam_adapt_ros.messages.point_cloud import read_points
from sam_adapt_ros.messages.sensor_frame import SensorFrame
from sam_adapt_ros.notices import Notices


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
