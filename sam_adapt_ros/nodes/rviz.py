"""The RViz view of a vehicle: ``config/adapt.rviz`` with its topics, cameras and frames."""

from __future__ import annotations

from typing import Any

import yaml

from sam_adapt_ros import resources
from sam_adapt_ros.config import Config
from sam_adapt_ros.messages.calibration_file import Calibration
from sam_adapt_ros.nodes import topics
from sam_adapt_ros.nodes.launch_arguments import absolute_name


def rviz_text(config: Config, namespace: str = "/") -> str:
    """An RViz configuration: labels, the LiDAR's points, TF, and an overlay a camera, of which the first is shown.

    The fixed frame is the vehicle's, which is there whatever the odometry's is called, and without any; where a
    calibration file stands in for TF, the LiDAR's own, which needs none. Raises CalibrationError.
    """
    view = yaml.safe_load((resources.share_directory() / "config" / "adapt.rviz").read_text(encoding="utf-8"))
    manager: dict[str, Any] = view["Visualization Manager"]
    displays = {display["Name"]: display for display in manager["Displays"]}
    calibration = config.transforms.calibration_file
    frame = Calibration.load(calibration).lidar_frame if calibration else config.transforms.base_frame
    manager["Global Options"]["Fixed Frame"] = displays["Grid"]["Reference Frame"] = frame
    manager["Views"]["Current"]["Target Frame"] = frame

    displays["Labels"]["Topic"]["Value"] = absolute_name(namespace, topics.LABELS)
    displays["LiDAR"]["Topic"]["Value"] = absolute_name(namespace, config.lidar.topic)
    overlay = displays.pop("Overlay")
    overlays = [_overlay(overlay, namespace, camera, shown=not index) for index, camera in enumerate(config.cameras)]
    manager["Displays"] = [*displays.values(), *overlays]
    return yaml.safe_dump(view, sort_keys=False)


def _overlay(display: dict[str, Any], namespace: str, camera: str, shown: bool) -> dict[str, Any]:
    topic = {**display["Topic"], "Value": absolute_name(namespace, f"segmenter/{topics.overlay(camera)}")}
    return {**display, "Name": f"Overlay {camera}", "Topic": topic, "Enabled": shown, "Value": shown}
