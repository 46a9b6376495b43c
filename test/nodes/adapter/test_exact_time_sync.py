from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sam_adapt_ros.nodes.adapter.exact_time_sync import ExactTimeSync


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
    sync = ExactTimeSync(lambda *pair: pairs.append(pair), max_sweeps, max_labels)
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
    sync = ExactTimeSync(lambda sweep, labels: pairs.append(sweep.name), max_sweeps=3)  # type: ignore[attr-defined]
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
