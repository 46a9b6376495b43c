"""The adapter node in a process of its own, over real DDS; labels come from the rig instead of a segmenter."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from adapter_support import AdapterChild, AdapterRig, AdapterServer, adapter_config
from diagnostic_msgs.msg import DiagnosticStatus
from node_support import SECOND, save_weights, until
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from sam_adapt_ros.adaptation import Record, WeightStore
from sam_adapt_ros.nodes.tools.node_process import NodeProcess

Start = Callable[..., AdapterChild]
ROUND = {"statistics", "pseudo_labels", "training", "evaluation"}


@pytest.fixture(scope="module")
def server() -> Iterator[AdapterServer]:
    server = AdapterServer()
    yield server
    server.close()


@pytest.fixture
def rig() -> Iterator[AdapterRig]:
    rig = AdapterRig()
    yield rig
    rig.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where possible: syncs cost nothing there, and kills leave the same."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        yield Path(name)


@pytest.fixture
def start(server: AdapterServer, rig: AdapterRig, folder: Path, weights: Path, calibration: Path) -> Iterator[Start]:
    """Starts an adapter on a store, and waits until it is subscribed."""
    children = []

    def start(store: Path | None = None, wait: bool = True, **adaptation: object) -> AdapterChild:
        config = adapter_config(weights, calibration, store or folder / "store", **adaptation)
        children.append(server.start(config, folder))
        if wait:
            rig.wait_for_adapter()
        return children[-1]

    yield start
    for child in children:
        child.end(signal.SIGKILL)


def store_of(folder: Path) -> WeightStore:
    return WeightStore(folder / "store", lock_timeout_s=5.0)


def observed(rig: AdapterRig, outcome: str) -> int:
    return rig.status.get("observed", {}).get(outcome, 0)


def test_frames_are_paired_with_their_labels_and_kept(rig: AdapterRig, start: Start) -> None:
    child = start(rounds__min_frames=1000)
    rig.drive_until(lambda: observed(rig, "kept") >= 8, what="frames kept")
    for _ in range(3):
        paired = rig.fresh_status()["pairing"]["paired"]
        rig.drive(labels=False)
        rig.drive(rows=700)
        until(lambda paired=paired: rig.status["pairing"]["paired"] == paired + 1, what="labels of too few rows")
        rig.drive()
        rig.drive(metres=0.1)
        until(lambda paired=paired: rig.status["pairing"]["paired"] == paired + 3, what="labels that fit")
    until(lambda: observed(rig, "passed_over") >= 3, what="frames accounted for")
    status = rig.fresh_status()
    assert status["phase"] == "waiting"
    assert status["observed"]["label_rows"] == 3
    frames = status["frames"]
    assert status["observed"]["kept"] == frames["training"] + frames["held_out"] >= 8
    assert frames["training"] + frames["lacking"]["training"] == 1000
    assert status["pairing"]["paired"] == sum(status["observed"].values())
    assert "700" in child.log
    assert "800 rows expected" in child.log
    # More frames than are waited with: the oldest were in vain.
    for _ in range(20):
        rig.drive(labels=False)
        time.sleep(0.02)
    until(lambda: rig.status["pairing"]["frame_without_labels"] >= 4, what="frames given up")
    assert "Traceback" not in child.log
    assert child.end() == 0


def test_a_round_promotes_and_announces_to_early_and_late_subscribers(
    rig: AdapterRig, start: Start, folder: Path
) -> None:
    child = start()
    rig.drive_until(lambda: rig.status.get("promotions"), what="a promotion")
    until(lambda: len(rig.weights) >= 2, what="the announcement")
    store = store_of(folder)
    assert rig.weights[0] == str(store.source().path)
    assert rig.weights[1].startswith(str(folder / "store" / "v0001-"))
    assert (Path(rig.weights[1])).is_file()
    assert store.verify() == []
    late: list[str] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    rig.node.create_subscription(String, "/adaptation/weights", lambda message: late.append(message.data), latched)
    until(lambda: late, what="the latched announcement")
    assert late[-1] == rig.weights[-1]
    status = rig.fresh_status()
    assert status["decision"]["promoted"] != "nothing"
    assert status["decision"]["reason"]
    assert 0 < status["decision"]["labels"]["coverage"] <= 1
    assert status["gate"]["current"]["score"] >= 0
    assert status["losses"]["steps"] == 3
    assert status["seconds_since_round"] >= 0
    assert status["source"] == store.source().name
    assert status["memory_mb"] > 50
    assert child.end() == 0
    assert "is in use: round 1" in child.log


def test_services_at_any_time_and_twice(rig: AdapterRig, start: Start, folder: Path) -> None:
    child = start(self_training__steps=10_000)
    ask = rig.ask_adapter
    until(lambda: "round" in rig.status, what="the store to be opened")
    for service in ("reset", "save", "reset", "save"):
        assert ask(service)[0]
    for _ in range(2):
        done, why = ask("trigger")
        assert not done
        assert "0 of 6 for training, 0 of 3 held out" in why
        done, why = ask("rollback")
        assert not done
        assert "nothing to roll back to" in why
    assert [rig.pause(p) for p in (True, True, False, False)] == [
        "learning is paused",
        "learning is paused already",
        "learning is not paused",
        "learning is not paused already",
    ]
    rig.drive_until(lambda: rig.status["phase"] == "training", what="a round in training")
    done, why = ask("trigger")
    assert done
    assert "round 1 is under way" in why
    assert ask("save") == ask("save")
    assert rig.pause(True) == "learning is paused"
    until(lambda: rig.status["phase"] == "paused", what="the pause")
    steps = rig.fresh_status()["losses"]["steps"]
    time.sleep(0.5)
    assert rig.fresh_status()["losses"]["steps"] <= steps + 1  # the step at hand
    assert not ask("trigger")[0]
    rig.pause(False)
    until(lambda: rig.status["losses"]["steps"] > steps + 1, what="training to go on")
    for _ in range(2):
        started = time.monotonic()
        assert ask("reset")[0]
        assert time.monotonic() - started < 2.0
    until(lambda: rig.status["phase"] == "waiting", what="the round to be stopped")
    assert rig.fresh_status()["frames"]["training"] == 0
    assert not ask("trigger")[0]
    # A rollback in mid-round: the round ends, too, and the next one waits for new frames.
    rig.drive_until(lambda: rig.status["phase"] == "training", what="another round")
    store = store_of(folder)
    with_other = store.promote(store.add(save_weights(folder / "other.safetensors", seed=5), Record()), "by hand")
    until(lambda: rig.weights[-1] == str(with_other.path), what="the announcement of another's promotion")
    done, why = ask("rollback")
    assert done
    assert store.source().name in why
    until(lambda: rig.status["rollbacks"] == 1 and rig.status["phase"] == "watching", what="the rollback")
    assert rig.fresh_status()["frames"]["lacking"]["new"] == 6
    assert rig.weights[-1] == str(store.source().path)
    done, why = ask("trigger")
    assert done, why
    until(lambda: rig.status["phase"] == "training", what="the round that was asked for")
    assert "Traceback" not in child.log
    assert child.end() == 0


def test_jumps_of_clock_and_stamps_do_not_wedge_it(rig: AdapterRig, start: Start) -> None:
    start(rounds__min_frames=1000)
    rig.drive_until(lambda: observed(rig, "kept") >= 3, what="frames kept")
    for seconds in (3600.0, -1800.0, 100.0, -5000.0):
        rig.send_clock(rig.now)
        rig.tick(seconds)
        paired = rig.fresh_status()["pairing"]["paired"]
        rig.drive_until(lambda paired=paired: rig.status["pairing"]["paired"] >= paired + 3, what="pairs after a jump")
    now = rig.now
    for _ in range(3):  # a bag that loops, with the very same stamps
        rig.now = now - 20 * SECOND
        paired = rig.fresh_status()["pairing"]["paired"]
        rig.drive_until(lambda paired=paired: rig.status["pairing"]["paired"] >= paired + 5, what="pairs of a loop")


def test_observe_shows_what_it_would_have_learned_from_and_changes_nothing(
    rig: AdapterRig, start: Start, folder: Path
) -> None:
    start(mode="observe")
    rig.drive_until(lambda: "decision" in rig.status, what="a round")
    status = rig.fresh_status()
    assert status["mode"] == "observe"
    assert status["decision"]["promoted"] == "nothing"
    assert "observe: pseudo-labels on" in status["decision"]["reason"]
    assert 0 < status["decision"]["labels"]["coverage"] <= 1
    assert status["promotions"] == status["rejections"] == 0
    assert store_of(folder).versions() == (store_of(folder).source(),)
    until(lambda: rig.status["settled"], what="the end of the drive")


def test_without_a_store_it_says_what_it_needs(start: Start) -> None:
    child = start(wait=False, store__folder="")
    until(lambda: not child.running, what="its end")
    assert child.end() == os.EX_CONFIG
    assert "error: adaptation.store.folder: the folder of the weight store expected" in child.log
    assert "Traceback" not in child.log


# Faults ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kills", [10, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_kills_at_random_instants_leave_stream_and_store_whole_and_learning_resumes(
    rig: AdapterRig, start: Start, folder: Path, weights: Path, calibration: Path, kills: int
) -> None:
    generator = random.Random(kills)
    store = store_of(folder)
    log = (folder / "segmenter.log").open("w")
    segmenter = NodeProcess("segmenter", adapter_config(weights, calibration, folder / "store"), log=log)
    with log, segmenter, rig.driving(period=0.2, labels=False) as stamps:
        until(lambda: rig.labels, 60.0, "the first labels")
        first = min(rig.labels)
        for number in range(kills):
            rig.status = {}
            child = start(wait=False)
            if number % 2:
                until(lambda: rig.status.get("phase") in ROUND, 60.0, "a round")
            time.sleep(generator.uniform(0.0, 2.0))
            assert child.end(signal.SIGKILL) == -signal.SIGKILL
            if (folder / "store" / "current").exists():
                assert store.verify() == []
        count = len(stamps)
        until(lambda: stamps[count - 1] in rig.labels, what="labels of what was sent")
        assert [stamp for stamp in stamps[:count] if stamp >= first and stamp not in rig.labels] == []
        came = len(rig.labels)  # before the report: driving goes on
        assert rig.report()["frames_labelled"] >= came > 5 * kills
    seen = len(rig.weights)
    child = start()
    until(lambda: "round" in rig.status, what="the store to be opened")
    assert rig.status["frames"]["training"] + rig.status["frames"]["held_out"] > 0
    rig.drive_until(lambda: "decision" in rig.status, what="a round's end")
    until(lambda: len(rig.weights) > seen, what="the announcement of the weights")
    assert child.end() == 0
    assert store.verify() == []


def test_a_round_that_was_killed_is_resumed(rig: AdapterRig, start: Start, folder: Path) -> None:
    child = start(self_training__steps=10_000)
    # Not further than that: a round whose frames have been replaced in the buffer begins anew.
    rig.drive_until(lambda: rig.status["phase"] not in ("waiting", "watching"), what="a round")
    until(lambda: rig.status.get("losses", {}).get("steps", 0) >= 3, what="steps of training")
    assert child.end(signal.SIGKILL) == -signal.SIGKILL
    assert (folder / "store" / "adapter" / "round.npz").exists()
    child = start(self_training__steps=10_000)
    until(lambda: rig.status.get("losses", {}).get("steps", 0) >= 3, what="training to go on without a new frame")
    assert rig.status["round"] == 1
    assert rig.status["frames_in"] == 0
    # A requested end is quick, in the middle of a step or not.
    started = time.monotonic()
    assert child.end() == 0
    assert time.monotonic() - started < 5.0, "before ros2 launch sends SIGTERM"


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 4 MB; skips where none can be mounted."""
    disk = folder / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def is_paused(rig: AdapterRig, word: str) -> bool:
    level, message = rig.messages["adapter: learning"]
    return rig.status["phase"] == "paused" and level == DiagnosticStatus.ERROR and word in message


def test_a_full_disk_pauses_learning_until_there_is_room(rig: AdapterRig, start: Start, small_disk: Path) -> None:
    fill(small_disk)
    child = start(store=small_disk / "store")
    until(lambda: is_paused(rig, str(small_disk / "store")), what="the pause at the start")
    assert "No space left" in rig.messages["adapter: learning"][1]
    (small_disk / "filler").unlink()
    rig.drive_until(lambda: rig.status["phase"] == "pseudo_labels", what="a round")
    fill(small_disk)
    rig.drive_until(lambda: is_paused(rig, "No space left"), what="the pause in a round")
    assert rig.status["promotions"] == 0
    assert not rig.ask_adapter("trigger")[0]
    (small_disk / "filler").unlink()
    rig.drive_until(lambda: rig.status["promotions"], what="learning to go on")
    assert child.running
    assert "Traceback" not in child.log


def test_a_read_only_store_pauses_learning_until_it_can_be_written(rig: AdapterRig, start: Start, folder: Path) -> None:
    view = folder / "view"
    view.mkdir()
    (folder / "store").mkdir()
    if subprocess.run(["mount", "--bind", folder / "store", view], capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", view], check=True)
        child = start(store=view)
        until(lambda: is_paused(rig, "Read-only"), what="the pause")
        for service in ("trigger", "reset", "save", "rollback"):
            assert not rig.ask_adapter(service)[0]
        subprocess.run(["mount", "-o", "remount,bind,rw", view], check=True)
        rig.drive_until(lambda: rig.status["promotions"], what="learning to begin")
        assert child.running
        assert "Traceback" not in child.log
        child.end()
    finally:
        subprocess.run(["umount", "-l", view], check=True)


def test_a_store_of_another_source_and_one_in_use_are_refused_by_name(
    rig: AdapterRig, start: Start, folder: Path
) -> None:
    WeightStore(folder / "store").initialize(save_weights(folder / "other.safetensors", seed=9))
    child = start()
    until(lambda: is_paused(rig, "the store's source model is"), what="the pause")
    shutil.rmtree(folder / "store")
    until(lambda: rig.status["phase"] == "waiting", what="learning to begin")
    assert "learning is paused" in child.log
    second = start(wait=False)
    until(lambda: "another process has held the lock" in child.log, what="the second's pause")  # they share the log
    assert child.running
    assert second.running
