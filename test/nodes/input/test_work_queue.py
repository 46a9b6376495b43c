from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_support import until

from sam_adapt_ros.errors import MessageError
from sam_adapt_ros.nodes.input.work_queue import WorkQueue


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 4))
def test_every_item_is_processed_or_dropped_in_order(pauses: list[int], size: int) -> None:
    done: list[int] = []
    dropped: list[tuple[int, str, str]] = []
    release = threading.Semaphore(0)

    def process(item: int) -> None:
        release.acquire()
        done.append(item)

    queue = WorkQueue(process, size, lambda *drop: dropped.append(drop))
    for item, pause in enumerate(pauses):
        queue.put(item)
        for _ in range(pause):
            release.release()
    for _ in range(len(pauses)):
        release.release()
    queue.stop()
    assert sorted(done + [item for item, _, _ in dropped]) == list(range(len(pauses)))
    assert done == sorted(done)
    assert {reason for _, reason, _ in dropped} <= {"overload", "stopped"}


def test_its_thread_is_prepared_before_it_is_there() -> None:
    threads: list[int] = []

    def prepare() -> None:
        time.sleep(0.05)
        threads.append(threading.get_ident())

    queue = WorkQueue(lambda _: threads.append(threading.get_ident()), 2, lambda *_: None, "worker", prepare)
    assert len(threads) == 1
    queue.put(0)
    until(lambda: len(threads) == 2, 5.0)
    assert threads[0] == threads[1] != threading.get_ident()
    assert queue.stop()


def test_a_thread_that_cannot_be_prepared_is_an_error() -> None:
    def prepare() -> None:
        raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        WorkQueue(lambda _: None, 2, lambda *_: None, "worker", prepare)


def test_the_newest_are_kept_and_errors_are_survived() -> None:
    started, go = threading.Event(), threading.Event()
    done: list[int] = []
    dropped: list[tuple[int, str, str]] = []

    def process(item: int) -> None:
        started.set()
        go.wait(5.0)
        if item == 0:
            raise ValueError("zero")
        if item == 3:
            raise MessageError("cloud_empty", "point cloud: no points")
        done.append(item)

    queue = WorkQueue(process, 2, lambda *drop: dropped.append(drop))
    queue.put(0)
    assert started.wait(5.0)
    for item in (1, 2, 3, 4):
        queue.put(item)
    go.set()
    until(lambda: done == [4], 5.0)
    assert queue.stop()
    queue.put(5)
    assert dropped == [
        (1, "overload", ""),
        (2, "overload", ""),
        (0, "internal_error", "ValueError: zero"),
        (3, "cloud_empty", "point cloud: no points"),
        (5, "stopped", ""),
    ]
