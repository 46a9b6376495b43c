"""A real clip, too short to learn from, observed live: the adapter's log tells what it would have learned from."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from adapter_support import AdapterServer
from dataset_support import convert_kitti
from node_support import save_weights, until

from sam_adapt_ros.config import Config
from sam_adapt_ros.nodes.launch_arguments import bag_calibration
from sam_adapt_ros.nodes.tools.node_process import NodeProcess
from sam_adapt_ros.nodes.tools.player import play

SWEEPS = 12


@pytest.fixture(scope="module")
def server() -> Iterator[AdapterServer]:
    server = AdapterServer()
    yield server
    server.close()


def test_a_clip_that_is_too_short_is_summed_up_in_the_log(
    real_data: Path, server: AdapterServer, tmp_path: Path
) -> None:
    (drive,) = (real_data / "kitti_raw" / "2011_09_26").glob("*_sync")
    bag = tmp_path / "kitti"
    convert_kitti(drive, bag)
    values = {
        "segmenter.weights": str(save_weights(tmp_path / "small.safetensors")),
        "segmenter.device": "cpu",
        "segmenter.threads": 1,
        "segmenter.queue_size": 100,
        "sync.camera_timeout": 2.0,  # nothing is lost to other processes that take the cores
        "transforms.odometry_topic": "",
        "adaptation.mode": "observe",
        "adaptation.store.folder": str(tmp_path / "store"),
        "adaptation.resources.nice": 0,
        "adaptation.buffer.held_out": 0.0,  # wherever the clip begins
    }
    config = Config.load("kitti", values)
    config = config.updated(bag_calibration(config, bag))
    segmenter_log = tmp_path / "segmenter.log"
    with segmenter_log.open("w") as log, NodeProcess("segmenter", config, log=log, of_ros={"use_sim_time": True}):
        adapter = server.start(config, tmp_path)
        try:
            until((tmp_path / "adapter.log").exists, 10.0, "the adapter")
            until(lambda: "learning (observe)" in adapter.log, 60.0, "the store")
            until(lambda: "segmenter]: active" in segmenter_log.read_text(), 60.0, "the segmenter")
            camera = config.cameras["CAM_FRONT"]
            sensors = [config.lidar.topic, camera.image, camera.info]
            play(bag, rate=0.5, clock=True, wait_for=sensors, subscribers=["adapter"], wait_timeout=60.0)
            until(lambda: "observe: no frame is held out" in adapter.log, 60.0, "a round with what there is")
            log_text = adapter.log
            assert adapter.end() == 0
        finally:
            adapter.end(signal.SIGKILL)
    assert "observe: no sweep for 3 s" in log_text
    account = re.search(r"(\d+) frames kept of (\d+) seen, (\d+) needed for training \(there are (\d+)\)", log_text)
    assert account, log_text
    kept, seen, needed, there = map(int, account.groups())
    assert 0 < kept == there < needed == config.adaptation.rounds.min_frames
    assert seen == SWEEPS
    others = re.findall(r"(?:passed over|refused|not looked at): (.+)", log_text)
    assert kept + sum(int(count) for line in others for count in re.findall(r"(?:^|, )(\d+) \w", line)) == seen, others
    labels = re.search(
        r"observe: pseudo-labels on (\S+) % of the (\S+) points that a camera sees in (\d+) frames", log_text
    )
    assert labels, log_text
    assert 0 < float(labels.group(1)) <= 100
    assert int(labels.group(2).replace(",", "")) > 1000 * kept
    assert int(labels.group(3)) == kept
    assert re.search(r"observe: of these labels: \w+ \S+ %", log_text)
    assert "observe: no frame is held out" in log_text
    assert "Traceback" not in adapter.log
    at_the_end = adapter.log[len(log_text) :]
    assert account.group() in at_the_end
    assert labels.group() in at_the_end
