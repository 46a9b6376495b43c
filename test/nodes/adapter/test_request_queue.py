from __future__ import annotations

import threading

import pytest

from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.nodes.adapter import request_queue
from sam_adapt_ros.nodes.adapter.request_queue import RequestQueue


def test_a_busy_thread_does_not_delay_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_queue, "MAX_ANSWER_TIME_S", 0.1)
    queue, done = RequestQueue(), threading.Event()
    assert "accepted" in queue.ask(done.set, "done").message
    assert not done.is_set()
    assert queue.serve()
    assert done.is_set()


def test_requests_run_in_order_and_errors_are_answers() -> None:
    queue = RequestQueue()
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
    answers = [each.result(0.0) for each in asked]
    assert answers[0] == (True, "did it")
    assert answers[1] == (False, "store: no space")
    assert answers[2] == (False, "RuntimeError: no")
    late = queue.put(lambda: None)
    queue.refuse("stopping")
    assert late.result(0.0) == (False, "stopping")
