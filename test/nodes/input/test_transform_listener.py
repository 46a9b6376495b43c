from __future__ import annotations

from pathlib import Path

import pytest
from node_support import make_config, make_statistics
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2

from sam_adapt_ros.messages import FrameAssembler
from sam_adapt_ros.nodes.input import transform_listener
from sam_adapt_ros.nodes.input.transform_listener import TransformListener


def test_tf_is_used_where_its_messages_exist(
    node: Node, calibration: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(**values: object) -> tuple[TransformListener, FrameAssembler]:
        config = make_config(weights, calibration, ("front",), **values)
        assembler = FrameAssembler(config)
        return TransformListener(node, config, assembler, make_statistics(), lambda: None), assembler

    monkeypatch.setattr(transform_listener, "TFMessage", None)
    without, _ = make(**{"transforms.calibration_file": ""})
    assert [t.topic for t in without.topics] == ["/odom"]
    assert "set transforms.calibration_file" in without.waiting_for[0]
    from_file, assembler = make()
    assert [t.topic for t in from_file.topics] == ["/odom"]
    assert from_file.waiting_for == ["/odom (no publisher; set by transforms.odometry_topic)"]
    assert assembler.tree.lookup("base_link", "lidar", 0)[2, 3] == pytest.approx(1.8)
    # Stands in for tf2_msgs/TFMessage, which is not on PyPI.
    monkeypatch.setattr(transform_listener, "TFMessage", PointCloud2)
    with_tf, _ = make(**{"transforms.calibration_file": ""})
    assert [t.topic for t in with_tf.topics] == ["/tf", "/tf_static"]
    assert with_tf.waiting_for == ["the first transform on /tf or /tf_static"]
    both, _ = make()
    assert [t.topic for t in both.topics] == ["/tf", "/tf_static", "/odom"]
