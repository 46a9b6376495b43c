"""What a recording of a drive says of learning."""

from __future__ import annotations

import numpy as np

from sam_adapt_ros.nodes.tools.recording import Recording

LABELS = {"fused": np.zeros(3, np.uint8)}


def recording(labelled: list[int]) -> Recording:
    """Ten seconds; the adapter promotes twice at 4 s, is started again, and promotes once more at 8 s; the segmenter
    follows a second later."""
    adapter = [(t, {"promotions": (0 if t < 4 else 2) if t < 6 else (0 if t < 8 else 1)}) for t in range(10)]
    segmenter = [(t, {"swaps": (t >= 5) + (t >= 9)}) for t in range(10)]
    return Recording(dict.fromkeys(labelled, LABELS), segmenter, adapter)


def test_events_are_counted_once_and_across_a_restart() -> None:
    assert [time for time, _ in recording([]).events("promotions")] == [4, 4, 8]
    assert recording([]).events("rejections") == []


def test_only_sweeps_around_an_exchange_are_lost_to_it() -> None:
    assert recording(list(range(10))).lost_in_swaps(range(10)) == []
    assert recording([0, 1, 3, 4, 6, 7, 8]).lost_in_swaps(range(10)) == [5, 9]  # and 2 for another reason
    two = recording(list(range(10)))
    two.labels[6] = {"2d": np.zeros(3, np.uint8)}
    assert two.lost_in_swaps(range(10)) == [6]


def test_time_is_the_sweeps() -> None:
    drive = recording([2_000_000_000, 5_000_000_000])
    assert drive.seconds == 3.0
    assert drive.frames_before(2_000_000_000) == 1
    assert Recording().seconds == 0.0
