"""The training thread with an adapter that computes nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapter_support import adapter_config
from node_support import until

from sam_adapt_ros.adaptation.promotion.gate import Decision
from sam_adapt_ros.cancellation import CancellationToken, Cancelled
from sam_adapt_ros.errors import BagError, StoreError
from sam_adapt_ros.nodes.adapter import training_thread
from sam_adapt_ros.nodes.adapter.training_thread import TrainingThread


class FakeBuffer(list):  # type: ignore[type-arg]
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def training(self) -> range:
        return range(9)

    held_out = training


class FakeAdapter:
    """An adapter whose rounds are so many steps of so many seconds, and then fail as told."""

    def __init__(self, steps: int = 5, seconds: float = 0.02) -> None:
        self.steps, self.seconds = steps, seconds
        self.ready = self.ready_at_end = False
        self.rounds = self.abandoned = self.saved = 0
        self.decisions: list[Decision] = []
        self.errors: list[Exception] = []
        self.times: list[float] = []
        self.phase = "training"
        self.lacking = {"training": 0, "held_out": 0, "new": 0}
        self.taxonomy = range(3)
        self.buffer = FakeBuffer()

    def run_round(self, token: CancellationToken) -> Decision | None:
        self.rounds += 1
        if self.errors:
            raise self.errors.pop(0)
        for _ in range(self.steps):
            time.sleep(self.seconds)
            self.times.append(time.monotonic())
            try:
                token.check()
            except Cancelled:
                return None
        self.ready = self.ready_at_end = False
        self.decisions.append(Decision("student", "better"))
        return self.decisions[-1]

    def request_round(self) -> None:
        self.ready = True

    def abandon_round(self) -> None:
        self.abandoned += 1

    def save(self) -> None:
        self.saved += 1

    def reset(self) -> None:
        self.ready = False

    def observe(self, frame: object, labels: np.ndarray, *_: object) -> str:
        assert labels.dtype == np.uint8
        return "kept"


@pytest.fixture
def start_thread(
    weights: Path, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[TrainingThread, FakeAdapter]]]:
    """Starts a training thread with a fake adapter."""
    monkeypatch.setattr(training_thread, "RETRY_S", 0.1)
    monkeypatch.setattr(training_thread, "FIRST_BACK_OFF_S", 0.1)
    made: list[TrainingThread] = []

    def start(fake: FakeAdapter, **adaptation: object) -> tuple[TrainingThread, FakeAdapter]:
        thread = TrainingThread(adapter_config(weights, calibration, tmp_path / "store", **adaptation))
        monkeypatch.setattr(thread.state_dir, "open", lambda: fake)
        thread.start()
        made.append(thread)
        until(lambda: thread.adapter is fake, 5.0)
        return thread, fake

    yield start
    for thread in made:
        assert thread.close()


def test_the_thread_rests_between_steps(start_thread: Callable[..., Any]) -> None:
    thread, fake = start_thread(FakeAdapter(steps=6, seconds=0.03), resources__duty_cycle=0.25)
    assert thread.trigger().success
    until(lambda: thread.decision, 10.0)
    pauses = np.diff(fake.times)
    assert (pauses >= 0.03 / 0.25 - 0.005).all(), pauses


def test_an_exception_in_a_round_is_shown_and_learning_goes_on(start_thread: Callable[..., Any]) -> None:
    fake = FakeAdapter()
    fake.errors = [RuntimeError("first"), RuntimeError("second")]
    thread, _ = start_thread(fake)
    seen = set()
    thread.trigger()

    def ended() -> bool:
        seen.add((thread.phase, thread.problem))
        return thread.decision is not None

    until(ended, 10.0)
    assert ("failed", "RuntimeError: first") in seen
    assert ("failed", "RuntimeError: second") in seen
    assert thread.counts == {"failures": 2, "promotions": 1}
    assert fake.abandoned == 1, "after the second failure in a row"
    until(lambda: thread.phase == "watching", 5.0)
    assert thread.problem == ""


def test_a_store_error_pauses_until_the_store_can_be_written(start_thread: Callable[..., Any], tmp_path: Path) -> None:
    fake = FakeAdapter()
    fake.errors = [StoreError("disk_full", "store: No space left (disk_full)")]
    thread, _ = start_thread(fake)
    writable = threading.Event()

    def check() -> None:
        if not writable.is_set():
            raise StoreError("disk_full", "store: still no space")

    thread.state_dir.check_writable = check
    thread.trigger()
    until(lambda: thread.problem == "store: still no space", 5.0)
    assert thread.phase == "paused"
    assert thread.trigger() == (False, "store: still no space")
    assert fake.rounds == 1, "no round in vain"
    writable.set()
    until(lambda: thread.decision, 5.0)
    assert thread.problem == ""
    assert fake.abandoned == 0


def test_an_error_that_lasts_is_tried_ever_more_rarely(start_thread: Callable[..., Any]) -> None:
    fake = FakeAdapter()
    fake.errors = [BagError("source: no such bag")] * 4
    thread, _ = start_thread(fake)
    requested = time.monotonic()
    thread.trigger()
    until(lambda: thread.decision, 10.0)
    assert time.monotonic() - requested > 0.1 + 0.2 + 0.4 + 0.8
    assert thread.counts == {"failures": 4, "promotions": 1}


def test_a_pause_holds_the_round_and_reset_ends_it(start_thread: Callable[..., Any]) -> None:
    thread, fake = start_thread(FakeAdapter(steps=10_000, seconds=0.005))
    thread.trigger()
    until(lambda: len(fake.times) > 3, 5.0)
    thread.pause(True)
    time.sleep(0.1)
    steps = len(fake.times)
    time.sleep(0.2)
    assert len(fake.times) == steps
    assert thread.phase == "paused"
    assert not thread.trigger().success
    assert thread.save().success
    assert fake.rounds == 1
    assert thread.reset() == (True, "frames and round discarded")
    assert not fake.ready
    thread.pause(False)
    until(lambda: thread.phase == "watching", 5.0)


def test_labels_of_no_class_are_refused(start_thread: Callable[..., Any]) -> None:
    thread, _ = start_thread(FakeAdapter())
    assert thread.observe(None, np.array([0, 2, 255], np.uint16)) == "kept"
    assert thread.observe(None, np.array([0, 3], np.uint16)) == "label_class"
    assert thread.observe(None, np.array([0, -1], np.int32)) == "label_class"


def test_decisions_do_not_pile_up(start_thread: Callable[..., Any]) -> None:
    thread, fake = start_thread(FakeAdapter(steps=0))
    for number in range(1, 31):
        thread.trigger()
        until(lambda number=number: thread.counts["promotions"] == number, 5.0)
    assert len(fake.decisions) == 20


def test_at_the_end_of_the_stream_only_an_observer_uses_the_frames_that_there_are(
    start_thread: Callable[..., Any],
) -> None:
    labels = np.zeros(3, np.uint8)
    thread, fake = start_thread(FakeAdapter(steps=10), mode="observe")
    thread.end_of_stream()
    until(lambda: thread.settled, 5.0)
    thread.observe(None, labels)  # the stream had not ended
    assert not thread.settled
    fake.ready_at_end = True
    thread.pause(False)
    time.sleep(0.2)
    assert fake.rounds == 0
    thread.end_of_stream()
    until(lambda: fake.rounds == 1, 5.0)
    assert not thread.settled
    until(lambda: fake.decisions, 5.0)
    until(lambda: thread.settled, 5.0)
    for mode in ("source_free", "with_source"):
        other, fake = start_thread(FakeAdapter(steps=1), mode=mode)
        fake.ready_at_end = True
        other.end_of_stream()
        time.sleep(0.1)
        assert fake.rounds == 0
        assert not other.settled
