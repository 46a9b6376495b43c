from __future__ import annotations

import numpy as np
from node_support import SECOND, START_NS, random_points

from sam_adapt_ros.frame import Frame
from sam_adapt_ros.messages import read_labels
from sam_adapt_ros.nodes.segmenter.publishers import byte_array, label_cloud, topic_token
from sam_adapt_ros.taxonomy import Taxonomy


def test_label_cloud_and_names() -> None:
    taxonomy = Taxonomy.load("town")
    points = random_points(50)
    points[3] = np.nan
    class_id = np.arange(50, dtype=np.uint8) % len(taxonomy)
    message = label_cloud(Frame(START_NS + 5, "lidar", points), class_id, np.full(50, 0.5, np.float32), taxonomy)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == divmod(START_NS + 5, SECOND)
    assert message.row_step == message.point_step * message.width == len(message.data)
    assert not message.is_dense
    answered, classes, probability = read_labels(message)
    np.testing.assert_array_equal(answered, points)
    np.testing.assert_array_equal(classes, class_id)
    assert (probability == 0.5).all()
    assert byte_array(np.arange(3, dtype="<u2")).tobytes() == b"\0\0\1\0\2\0"
    assert topic_token("CAM_FRONT") == "CAM_FRONT"
    assert topic_token("front-left 2") == "front_left_2"
    assert topic_token("0") == "camera_0"
