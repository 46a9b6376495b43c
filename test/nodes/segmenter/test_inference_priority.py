"""Frames go first, and what can wait does not wait for ever."""

from __future__ import annotations

import threading
import time

import pytest

from sam_adapt_ros.nodes.segmenter.inference_priority import RightOfWay

SOON = 5.0


def started(target: object, *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_where_no_frames_come_nobody_waits() -> None:
    way = RightOfWay()
    start = time.monotonic()
    way.wait_for_gap(start + SOON)
    way.give_way(start + SOON)
    assert time.monotonic() - start < 0.5


def test_who_can_wait_gives_way_to_a_frame() -> None:
    way = RightOfWay()
    with way.taken():
        waiting = started(way.give_way, time.monotonic() + SOON)
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(SOON / 2)
    assert not waiting.is_alive()


def test_a_gap_is_the_time_after_a_frame_not_before_one() -> None:
    way = RightOfWay()
    with way.taken():
        pass
    waiting = started(way.wait_for_gap, time.monotonic() + SOON)
    waiting.join(0.1)
    assert waiting.is_alive(), "the next frame may come at any moment"
    with way.taken():
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(SOON / 2)
    assert not waiting.is_alive()


def test_patience_ends() -> None:
    way = RightOfWay()
    with way.taken():
        start = time.monotonic()
        way.wait_for_gap(start + 0.1)
        way.give_way(start + 0.2)
        assert 0.2 <= time.monotonic() - start < 2.0


def test_a_frame_that_fails_does_not_keep_the_way() -> None:
    way = RightOfWay()
    with pytest.raises(ZeroDivisionError), way.taken():
        raise ZeroDivisionError
    start = time.monotonic()
    way.give_way(start + SOON)
    assert time.monotonic() - start < 0.5
