"""The adapter's parts one by one, in process."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from adapter_support import adapter_config
from hypothesis import given
from hypothesis import strategies as st
from node_support import until

from sam_adapt_ros.adaptation.promotion.gate import Decision
from sam_adapt_ros.errors import BagError, StoreError
from sam_adapt_ros.nodes.adapter import request_queue as commands
from sam_adapt_ros.nodes.adapter import state_dir as workplace
from sam_adapt_ros.nodes.adapter import training_thread as learner
from sam_adapt_ros.nodes.adapter.exact_time_sync import Pairing
from sam_adapt_ros.nodes.adapter.request_queue import Commands
from sam_adapt_ros.nodes.adapter.state_dir import Workplace
from sam_adapt_ros.nodes.adapter.training_thread import Learner

# Pairing --------------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=200),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_pairing_loses_nothing_uncounted_and_stays_bounded(
    events: list[tuple[bool, int]], max_frames: int, max_labels: int
) -> None:
    """Any order of stamps, repeated ones included: clocks that jump and bags that loop."""
    pairs: list[tuple[int, int]] = []
    pairing: Pairing[int, int] = Pairing(lambda frame, labels: pairs.append((frame, labels)), max_frames, max_labels)
    for is_frame, stamp in events:
        (pairing.add_frame if is_frame else pairing.add_labels)(stamp, stamp)
        frames, labels = pairing.waiting
        assert frames <= max_frames
        assert labels <= max_labels
    assert all(frame == labels for frame, labels in pairs)
    assert pairing.counts["paired"] == len(pairs)
    frames, labels = pairing.waiting
    came = Counter(is_frame for is_frame, _ in events)
    assert came[True] == len(pairs) + frames + pairing.counts["frame_without_labels"]
    assert came[False] == len(pairs) + labels + pairing.counts["labels_without_frame"]


def test_pairing_waits_with_the_newest_whatever_their_stamps() -> None:
    pairs: list[Any] = []
    pairing: Pairing[str, str] = Pairing(lambda *pair: pairs.append(pair), max_frames=3)
    for stamp in (900, 901, 902):
        pairing.add_frame(stamp, f"before {stamp}")
    for stamp in (1, 2, 3):  # the clock has jumped back
        pairing.add_frame(stamp, f"after {stamp}")
        pairing.add_labels(stamp, "labels")
    assert [frame for frame, _ in pairs] == ["after 1", "after 2", "after 3"]
    pairing.add_frame(5, "first lap")
    pairing.add_frame(5, "second lap")
    pairing.add_labels(5, "labels")
    assert pairs[-1] == ("second lap", "labels")


# Commands -------------------------------------------------------------------------------------------------------------


def test_who_asks_a_busy_thread_is_answered_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "ANSWER_WITHIN_S", 0.1)
    queue, done = Commands(), threading.Event()
    assert "accepted" in queue.ask(done.set, "done").message
    assert not done.is_set()
    assert queue.serve()
    assert done.is_set()


def test_commands_run_in_order_and_errors_are_answers() -> None:
    queue = Commands()
    ran: list[str] = []

    def refuse() -> None:
        raise StoreError("disk_full", "store: no space")

    def fail() -> None:
        raise RuntimeError("no")

    asked = [
        queue.put(lambda: ran.append("first"), "did it"),
        queue.put(refuse),
        queue.put(fail),
        queue.put(lambda: ran.append("reset"), "was reset", ends_round=True),
        queue.put(lambda: ran.append("last")),
    ]
    assert not queue.serve(in_round=True), "the round is to end first"
    assert ran == ["first"]
    assert queue.serve()
    assert ran == ["first", "reset", "last"]
    answers = [each.answer for each in asked]
    assert answers[0] == (True, "did it")
    assert answers[1] == (False, "store: no space")
    assert answers[2] == (False, "RuntimeError: no")
    late = queue.put(lambda: None)
    queue.refuse("ending")
    assert late.answer == (False, "ending")


# Learner --------------------------------------------------------------------------------------------------------------


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

    def run_round(self, between: Callable[[], bool]) -> Decision | None:
        self.rounds += 1
        if self.errors:
            raise self.errors.pop(0)
        for _ in range(self.steps):
            time.sleep(self.seconds)
            self.times.append(time.monotonic())
            if between():
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
def learn(
    weights: Path, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[Learner, FakeAdapter]]]:
    """Starts a learner with a fake adapter."""
    monkeypatch.setattr(learner, "RETRY_S", 0.1)
    monkeypatch.setattr(learner, "FIRST_BACK_OFF_S", 0.1)
    made = []

    def learn(fake: FakeAdapter, **adaptation: object) -> tuple[Learner, FakeAdapter]:
        learning = Learner(adapter_config(weights, calibration, tmp_path / "store", **adaptation))
        monkeypatch.setattr(learning.workplace, "open", lambda: fake)
        learning.start()
        made.append(learning)
        until(lambda: learning.adapter is fake, 5.0)
        return learning, fake

    yield learn
    for learning in made:
        assert learning.close()


def test_the_duty_cycle_rests_between_steps(learn: Callable[..., Any]) -> None:
    learning, fake = learn(FakeAdapter(steps=6, seconds=0.03), resources__duty_cycle=0.25)
    assert learning.trigger().success
    until(lambda: learning.decision, 10.0)
    pauses = np.diff(fake.times)
    assert (pauses >= 0.03 / 0.25 - 0.005).all(), pauses


def test_without_a_duty_cycle_it_does_not_rest(learn: Callable[..., Any]) -> None:
    learning, fake = learn(FakeAdapter(steps=20, seconds=0.001))
    assert learning.trigger().success
    until(lambda: learning.decision, 10.0)
    assert np.median(np.diff(fake.times)) < 0.02


def test_an_exception_in_a_round_is_shown_and_learning_goes_on(learn: Callable[..., Any]) -> None:
    fake = FakeAdapter()
    fake.errors = [RuntimeError("first"), RuntimeError("second")]
    learning, _ = learn(fake)
    seen = set()
    learning.trigger()

    def ended() -> bool:
        seen.add((learning.phase, learning.problem))
        return learning.decision is not None

    until(ended, 10.0)
    assert ("failed", "RuntimeError: first") in seen
    assert ("failed", "RuntimeError: second") in seen
    assert learning.counts == {"failures": 2, "promotions": 1}
    assert fake.abandoned == 1, "after the second failure in a row"
    until(lambda: learning.phase == "watching", 5.0)
    assert learning.problem == ""


def test_a_store_error_pauses_until_the_store_can_be_written(learn: Callable[..., Any], tmp_path: Path) -> None:
    fake = FakeAdapter()
    fake.errors = [StoreError("disk_full", "store: No space left (disk_full)")]
    learning, _ = learn(fake)
    writable = threading.Event()

    def check() -> None:
        if not writable.is_set():
            raise StoreError("disk_full", "store: still no space")

    learning.workplace.check = check
    learning.trigger()
    until(lambda: learning.problem == "store: still no space", 5.0)
    assert learning.phase == "paused"
    assert learning.trigger() == (False, "store: still no space")
    assert fake.rounds == 1, "no round in vain"
    writable.set()
    until(lambda: learning.decision, 5.0)
    assert learning.problem == ""
    assert fake.abandoned == 0


def test_an_error_that_lasts_is_not_tried_for_ever(learn: Callable[..., Any]) -> None:
    fake = FakeAdapter()
    fake.errors = [BagError("source: no such bag")] * 4
    learning, _ = learn(fake)
    asked = time.monotonic()
    learning.trigger()
    until(lambda: learning.decision, 10.0)
    assert time.monotonic() - asked > 0.1 + 0.2 + 0.4 + 0.8
    assert learning.counts == {"failures": 4, "promotions": 1}


@pytest.fixture
def place(weights: Path, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    monkeypatch.setattr(workplace, "learn_modestly", lambda *_: None)  # the tests go on at their own priority
    place = Workplace(adapter_config(weights, calibration, tmp_path / "store"))
    yield place
    place.close()


def test_who_was_killed_leaves_nothing_in_the_way(place: Workplace) -> None:
    place.folder.mkdir(parents=True)
    left = place.folder / ".training.safetensors.77-0.tmp"
    left.write_bytes(bytes(100))
    place.open()
    assert not left.exists()


def test_a_disk_is_not_filled_to_see_whether_there_is_room(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    place.open()
    place.check()
    assert not (place.folder / "room.tmp").exists()
    monkeypatch.setattr(workplace, "write_atomically", Mock(side_effect=AssertionError))
    monkeypatch.setattr(os, "statvfs", lambda _: Mock(f_bavail=10, f_frsize=512))
    with pytest.raises(StoreError, match=r"No space left on device \(disk_full\)"):
        place.check()


def test_a_pause_holds_the_round_and_reset_ends_it(learn: Callable[..., Any]) -> None:
    learning, fake = learn(FakeAdapter(steps=10_000, seconds=0.005))
    learning.trigger()
    until(lambda: len(fake.times) > 3, 5.0)
    learning.pause(True)
    time.sleep(0.1)
    steps = len(fake.times)
    time.sleep(0.2)
    assert len(fake.times) == steps
    assert learning.phase == "paused"
    assert not learning.trigger().success
    assert learning.save().success
    assert fake.rounds == 1
    assert learning.reset() == (True, "frames and round forgotten")
    assert not fake.ready
    learning.pause(False)
    until(lambda: learning.phase == "watching", 5.0)


def test_labels_of_no_class_are_refused(learn: Callable[..., Any]) -> None:
    learning, _ = learn(FakeAdapter())
    assert learning.observe(None, np.array([0, 2, 255], np.uint16)) == "kept"
    assert learning.observe(None, np.array([0, 3], np.uint16)) == "label_class"
    assert learning.observe(None, np.array([0, -1], np.int32)) == "label_class"


def test_decisions_do_not_pile_up(learn: Callable[..., Any]) -> None:
    learning, fake = learn(FakeAdapter(steps=0))
    for number in range(1, 31):
        learning.trigger()
        until(lambda number=number: learning.counts["promotions"] == number, 5.0)
    assert len(fake.decisions) == 20


def test_when_frames_run_dry_only_an_observer_makes_do_with_those_that_there_are(learn: Callable[..., Any]) -> None:
    labels = np.zeros(3, np.uint8)
    learning, fake = learn(FakeAdapter(steps=10), mode="observe")
    learning.run_dry()
    until(lambda: learning.settled, 5.0)
    learning.observe(None, labels)  # they had not run dry at all
    assert not learning.settled
    fake.ready_at_end = True
    learning.pause(False)
    time.sleep(0.2)
    assert fake.rounds == 0
    learning.run_dry()
    until(lambda: fake.rounds == 1, 5.0)
    assert not learning.settled
    until(lambda: fake.decisions, 5.0)
    until(lambda: learning.settled, 5.0)
    for mode in ("source_free", "with_source"):
        other, fake = learn(FakeAdapter(steps=1), mode=mode)
        fake.ready_at_end = True
        other.run_dry()
        time.sleep(0.1)
        assert fake.rounds == 0
        assert not other.settled
