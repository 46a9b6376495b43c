"""Frames go first, and what can wait does not wait for ever."""

from __future__ import annotations

import threading
import time

import pytest

from sam_adapt_ros.nodes.segmenter.inference_priority import InferencePriority

SOON = 5.0


def started(target: object, *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_without_frames_loading_does_not_wait() -> None:
    priority = InferencePriority()
    start = time.monotonic()
    priority.wait_for_gap(start + SOON)
    priority.give_way(start + SOON)
    assert time.monotonic() - start < 0.5


def test_loading_gives_way_to_a_frame() -> None:
    priority = InferencePriority()
    with priority.frame():
        waiting = started(priority.give_way, time.monotonic() + SOON)
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(SOON / 2)
    assert not waiting.is_alive()


def test_a_gap_is_the_time_after_a_frame_not_before_one() -> None:
    priority = InferencePriority()
    with priority.frame():
        pass
    waiting = started(priority.wait_for_gap, time.monotonic() + SOON)
    waiting.join(0.1)
    assert waiting.is_alive(), "the next frame may come at any moment"
    with priority.frame():
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(SOON / 2)
    assert not waiting.is_alive()


def test_loading_waits_until_its_deadline_only() -> None:
    priority = InferencePriority()
    with priority.frame():
        start = time.monotonic()
        priority.wait_for_gap(start + 0.1)
        priority.give_way(start + 0.2)
        assert 0.2 <= time.monotonic() - start < 2.0


def test_a_frame_that_fails_does_not_block_loading() -> None:
    priority = InferencePriority()
    with pytest.raises(ZeroDivisionError), priority.frame():
        raise ZeroDivisionError
    start = time.monotonic()
    priority.give_way(start + SOON)
    assert time.monotonic() - start < 0.5
