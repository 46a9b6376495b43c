from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sam_adapt_ros.nodes.adapter.exact_time_sync import ExactTimeSync
from sam_adapt_ros.notices import Notices


def sweep(stamp: int, name: str = "") -> Any:
    return SimpleNamespace(stamp_ns=stamp, name=name)


def labels(stamp: int) -> Any:
    return SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=stamp)))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=200),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_nothing_is_lost_uncounted_and_what_waits_is_bounded(
    events: list[tuple[bool, int]], max_sweeps: int, max_labels: int
) -> None:
    """Any order of stamps, repeated ones included: clocks that jump and bags that loop."""
    pairs: list[tuple[Any, Any]] = []
    sync = ExactTimeSync(lambda *pair: pairs.append(pair), Notices(), max_sweeps, max_labels)
    for is_sweep, stamp in events:
        if is_sweep:
            sync.add_sweep(sweep(stamp))
        else:
            sync.add_labels(labels(stamp))
        waiting = sync.waiting
        assert waiting[0] <= max_sweeps
        assert waiting[1] <= max_labels
    assert all(each.stamp_ns == its.header.stamp.nanosec for each, its in pairs)
    assert sync.counts["paired"] == len(pairs)
    came = Counter(is_sweep for is_sweep, _ in events)
    assert came[True] == len(pairs) + sync.waiting[0] + sync.counts["frame_without_labels"]
    assert came[False] == len(pairs) + sync.waiting[1] + sync.counts["labels_without_frame"]


def test_the_newest_are_kept_whatever_their_stamps() -> None:
    pairs: list[str] = []
    sync = ExactTimeSync(lambda sweep, labels: pairs.append(sweep.name), Notices(), max_sweeps=3)  # type: ignore[attr-defined]
    for stamp in (900, 901, 902):
        sync.add_sweep(sweep(stamp, f"before {stamp}"))
    for stamp in (1, 2, 3):  # the clock has jumped back
        sync.add_sweep(sweep(stamp, f"after {stamp}"))
        sync.add_labels(labels(stamp))
    assert pairs == ["after 1", "after 2", "after 3"]
    sync.add_sweep(sweep(5, "first lap"))
    sync.add_sweep(sweep(5, "second lap"))
    sync.add_labels(labels(5))
    assert pairs[-1] == "second lap"


def test_labels_whose_stamps_never_match_are_said_once() -> None:
    """The segmenter sees another LiDAR: its labels are 2 ms from this one's sweeps."""
    logged: list[str] = []
    notices = Notices(logged.append)
    pairs: list[Any] = []
    sync = ExactTimeSync(lambda *pair: pairs.append(pair), notices)
    for number in range(100):
        sync.add_sweep(sweep(100_000_000 * number))
        sync.add_labels(labels(100_000_000 * number + 2_000_000))
    assert not pairs and len(logged) == 1
    assert "+0.002 s from the newest sweep" in next(iter(notices)) and "lidar.topic" in next(iter(notices))
    sync.add_sweep(sweep(5))
    sync.add_labels(labels(5))
    assert pairs and not notices


def test_sweeps_that_the_segmenter_drops_are_no_fault_of_stamps() -> None:
    notices = Notices()
    sync = ExactTimeSync(lambda *pair: None, notices)
    for number in range(500):
        sync.add_sweep(sweep(number))
        if number % 100 == 0:
            sync.add_labels(labels(number))
    assert sync.counts["frame_without_labels"] > 400 and not notices
