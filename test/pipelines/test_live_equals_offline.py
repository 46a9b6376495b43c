"""What the nodes do with a bag over DDS and what replay does in process is the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sam_adapt_ros.adaptation import WeightStore
from sam_adapt_ros.adaptation.adapter import Adapter
from sam_adapt_ros.adaptation.buffer.frame_buffer import FrameBuffer
from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.nodes.tools.recording import Recording
from sam_adapt_ros.pipelines.adaptive_replay import OnlineRun
from sam_adapt_ros.pipelines.live_bag import drive_live
from sam_adapt_ros.pipelines.replay import replay
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.simulation import render_drive

FRAMES = 12
SETTINGS = {
    "adaptation.rounds.min_frames": 4,
    "adaptation.rounds.min_held_out": 1,
    "adaptation.rounds.new_frames": 1000,
    "adaptation.buffer.held_out": 0.4,
    "adaptation.self_training.steps": 2,
    "adaptation.resources.nice": 0,
}
NO_ROUND = {"adaptation.rounds.min_frames": 1000}  # the model stays as it is, and all frames are kept in the end


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drive by night."""
    folder = tmp_path_factory.mktemp("drive")
    render_drive("night", seed=12, frames=FRAMES, output=folder / "bag", period=0.5)
    return folder / "bag"


@pytest.fixture(scope="module")
def live(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, Path]:
    """The recorded labels and the adapter's weight store, after both nodes have had the bag."""
    output = tmp_path_factory.mktemp("live")
    config = Config.load("town", {**SETTINGS, **NO_ROUND, "adaptation.store.folder": str(output / "store")})
    return drive_live(bag, config, output, rate=0.25), output / "store"


@pytest.fixture(scope="module")
def offline(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> OnlineRun:
    run = OnlineRun(Config.load("town", {**SETTINGS, **NO_ROUND}), tmp_path_factory.mktemp("offline") / "store")
    with BagReader(bag, run.config) as reader:
        for frame in reader.frames():
            run.label(frame)
    return run


def test_the_labels_of_a_frozen_model_are_equal_point_for_point(
    bag: Path, live: tuple[Recording, Path], tmp_path: Path
) -> None:
    replay(bag, Config.load("town"), tmp_path)
    recorded, replayed = live[0].labels, Recording.load(tmp_path / "labels").labels
    assert len(replayed) == FRAMES
    assert recorded.keys() == replayed.keys(), "every sweep is answered, at its own stamp"
    for stamp, by_branch in replayed.items():
        np.testing.assert_array_equal(recorded[stamp]["fused"], by_branch["fused"])


def test_the_same_frames_are_kept(live: tuple[Recording, Path], offline: OnlineRun) -> None:
    kept = FrameBuffer.load(live[1] / "adapter" / "buffer", offline.config.adaptation.buffer)
    ours = offline.adapter.buffer
    assert len(ours) >= 8
    for name in ("training", "held_out"):
        nodes, process = (getattr(buffer, name)() for buffer in (kept, ours))
        assert [frame.stamp_ns for frame in nodes] == [frame.stamp_ns for frame in process], name
        for mine, other in zip(nodes, process, strict=True):
            np.testing.assert_array_equal(mine.points, other.points)
            np.testing.assert_array_equal(mine.T_odom_lidar, other.T_odom_lidar)
            for view, same in zip(mine.views, other.views, strict=True):
                np.testing.assert_array_equal(view.image, same.image)
                np.testing.assert_allclose(view.T_camera_lidar, same.T_camera_lidar, atol=1e-9)
    assert kept.counts == ours.counts


def test_a_round_on_the_same_frames_comes_to_the_same_decision(
    live: tuple[Recording, Path], offline: OnlineRun, tmp_path: Path
) -> None:
    config = Config.load("town", SETTINGS)
    shutil.copytree(live[1], tmp_path / "live")
    found = []
    for name in ("live", "offline"):
        store = WeightStore(tmp_path / name)
        if name == "offline":
            store.initialize(offline.adapter.store.source().path)
            offline.adapter.buffer.save(tmp_path / name / "adapter" / "buffer")
        adapter = Adapter(config, store, tmp_path / name / "adapter")
        adapter.request_round()
        decision = adapter.run_round()
        assert decision is not None
        facts = decision.as_dict()
        # Only the bag knows the truth; nothing is decided by it.
        facts["labels"] = {name: facts["labels"][name] for name in ("points", "coverage")}
        found.append((facts, weights_files.load(store.current().path).state))
    (live_decision, live_state), (offline_decision, offline_state) = found
    assert live_decision == offline_decision
    assert all(torch.equal(tensor, offline_state[name]) for name, tensor in live_state.items())
