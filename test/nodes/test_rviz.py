"""The RViz view shows what the configuration names, in a frame that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sam_adapt_ros.config import PRESETS, Config
from sam_adapt_ros.messages.calibration_file import Calibration
from sam_adapt_ros.nodes.rviz import rviz_text


def view(config: Config, namespace: str = "/") -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """RViz's global options, and its displays by their names."""
    manager = yaml.safe_load(rviz_text(config, namespace))["Visualization Manager"]
    assert manager["Views"]["Current"]["Target Frame"] == manager["Global Options"]["Fixed Frame"]
    return manager["Global Options"], {display["Name"]: display for display in manager["Displays"]}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_show_labels_sweeps_overlays_and_tf(preset: str) -> None:
    config = Config.load(preset)
    options, displays = view(config)
    assert options["Fixed Frame"] == "base_link", "there whether the odometry's frame is odom, map or missing"
    assert list(displays) == ["Grid", "Labels", "LiDAR", "TF", *(f"Overlay {name}" for name in config.cameras)]
    assert displays["Labels"]["Topic"]["Value"] == "/segmentation/labels"
    assert displays["LiDAR"]["Topic"]["Value"] == "/LIDAR_TOP"
    assert displays["Overlay CAM_FRONT"]["Topic"]["Value"] == "/segmenter/overlay/CAM_FRONT/compressed"
    assert [name for name, display in displays.items() if name.startswith("Over") and display["Enabled"]] == [
        "Overlay CAM_FRONT"
    ]


def test_a_vehicle_of_ones_own_in_a_namespace() -> None:
    config = Config.from_flat(
        {"lidar.topic": "points", "cameras.front-left.image": "/image", "transforms.base_frame": "chassis"}
    )
    options, displays = view(config, "/fleet/car")
    assert options["Fixed Frame"] == displays["Grid"]["Reference Frame"] == "chassis"
    assert displays["Labels"]["Topic"]["Value"] == "/fleet/car/segmentation/labels"
    assert displays["LiDAR"]["Topic"]["Value"] == "/fleet/car/points"
    overlay = displays["Overlay front-left"]
    assert overlay["Topic"]["Value"] == "/fleet/car/segmenter/overlay/front_left/compressed"
    assert overlay["Enabled"]


def test_without_tf_the_lidars_frame_is_the_one_that_is_there(tmp_path: Path) -> None:
    Calibration("velodyne", "base_link", "odom", np.eye(4)).save(tmp_path / "calibration.yaml")
    config = Config.from_flat({"transforms.calibration_file": str(tmp_path / "calibration.yaml")})
    assert view(config)[0]["Fixed Frame"] == "velodyne"
    assert "Overlay" not in " ".join(view(config)[1])
