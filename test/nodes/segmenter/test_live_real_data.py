"""Real drives through the live node: the same labels as in process, with every camera and the vehicle's motion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dataset_support import convert_kitti, convert_nuscenes
from node_support import save_weights
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CompressedImage

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.messages import read_labels, stamp_ns
from sam_adapt_ros.nodes.diagnostics.diagnostic_messages import read_diagnostics
from sam_adapt_ros.nodes.launch_arguments import bag_calibration
from sam_adapt_ros.nodes.tools.node_process import NodeProcess
from sam_adapt_ros.nodes.tools.player import play
from sam_adapt_ros.nodes.tools.recorder import LABELS, TOPICS, Recorder
from sam_adapt_ros.segmentation import load_segmenter

BRANCHES = {LABELS: "fused", "/segmenter/labels_2d": "2d", "/segmenter/labels_3d": "3d"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="module", params=["nuscenes", "kitti"])
def drive(request: pytest.FixtureRequest, real_data: Path, tmp_path_factory: Any) -> Iterator[tuple[str, Path]]:
    bag = tmp_path_factory.mktemp("bags") / request.param
    if request.param == "nuscenes":
        convert_nuscenes(real_data / "nuscenes_keyframe", bag)
    else:
        (folder,) = (real_data / "kitti_raw" / "2011_09_26").glob("*_sync")
        convert_kitti(folder, bag)
    yield request.param, bag


def test_live_labels_equal_those_of_a_replay(drive: tuple[str, Path], weights: Path, tmp_path: Path) -> None:
    preset, bag = drive
    overrides = {
        "taxonomy": "town",
        "ground_truth.topic": "",
        "ground_truth.mapping": "",
        "segmenter.weights": str(weights),
        "segmenter.device": "cpu",
        "segmenter.threads": 1,
        "segmenter.queue_size": 100,
        "sync.camera_timeout": 2.0,  # nothing is lost to other processes that take the cores
        "transforms.timeout": 2.0,
    }
    config = Config.load(preset, overrides)
    config = config.updated(bag_calibration(config, bag))
    cameras = list(config.cameras)
    with BagReader(bag, config) as reader:
        expected = {frame.stamp_ns: frame for frame in reader.frames()}
    segmenter, _ = load_segmenter(config)
    topics = {**TOPICS, **{f"/segmenter/overlay/{name}/compressed": CompressedImage for name in cameras}}
    with (
        (tmp_path / "log").open("w") as log,
        NodeProcess("segmenter", config, log=log),
        Recorder(tmp_path / "out", topics) as out,
    ):
        sensors = [
            config.lidar.topic,
            *(c.image for c in config.cameras.values()),
            *(c.info for c in config.cameras.values()),
        ]
        played = play(bag, rate=0.5, wait_for=sensors, wait_timeout=120.0)
        overlays = {f"/segmenter/overlay/{name}/compressed": len(expected) for name in cameras}
        ended = out.wait({**dict.fromkeys(BRANCHES, len(expected)), **overlays}, timeout_s=60.0)
        assert ended == "complete", (out.counts, (tmp_path / "log").read_text())
    assert played.published[config.lidar.topic] == len(expected)
    report: dict[str, Any] = {}
    with AnyReader([tmp_path / "out"]) as recording:
        for connection, _, data in recording.messages():
            message = recording.deserialize(data, connection.msgtype)
            if connection.topic == "/diagnostics":
                report = read_diagnostics(message)
            elif connection.msgtype == "sensor_msgs/msg/CompressedImage":
                image = cv2.imdecode(np.asarray(message.data), cv2.IMREAD_COLOR)
                name = connection.topic.split("/")[-2]
                view = next(v for v in next(iter(expected.values())).views if v.name == name)
                assert image.shape == view.image.shape
            else:
                frame = expected[stamp_ns(message.header)]
                points, class_id, _ = read_labels(message)
                np.testing.assert_array_equal(points, frame.points)
                expected_labels = segmenter(frame).by_branch()[BRANCHES[connection.topic]]
                assert (class_id == expected_labels).mean() > 0.999, connection.topic
                assert message.header.frame_id == frame.frame_id
    assert report["frames_labelled"] == report["frames_in"] == len(expected)
    assert "dropped" not in report
    assert "camera_drops" not in report, "every camera is used"
    assert 0 < report["points_seen_by_camera"] < report["points"]
    if preset == "nuscenes":
        assert len(cameras) == 6
        assert report["points"] == 34_688
        assert "warnings" not in report, "the ego motion between sweep and images is honoured"
