from __future__ import annotations

import threading
import time

import pytest

from sam_adapt_ros.cancellation import Cancelled
from sam_adapt_ros.nodes.adapter.duty_cycle import DutyCycle
from sam_adapt_ros.nodes.adapter.request_queue import RequestQueue


def test_it_rests_as_long_as_its_share_asks_for() -> None:
    token = DutyCycle(RequestQueue(), share=0.25)
    token.begin()
    time.sleep(0.05)
    start = time.monotonic()
    token.check()
    assert time.monotonic() - start >= 3 * 0.05 - 0.005


def test_with_all_of_the_time_as_its_share_it_does_not_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = RequestQueue()
    monkeypatch.setattr(requests, "wait", lambda timeout: pytest.fail("rested"))
    token = DutyCycle(requests, share=1.0)
    token.begin()
    time.sleep(0.01)
    token.check()


def test_a_pause_holds_and_requests_are_served_meanwhile() -> None:
    requests = RequestQueue()
    token = DutyCycle(requests, share=1.0)
    token.paused = True
    token.begin()
    held = threading.Thread(target=token.check, daemon=True)
    held.start()
    assert requests.ask(lambda: None, "saved") == (True, "saved")
    held.join(0.1)
    assert held.is_alive()
    token.paused = False
    requests.wake()
    held.join(5.0)
    assert not held.is_alive()


def test_it_cancels_for_requests_that_end_the_round_and_when_it_is_cancelled() -> None:
    requests = RequestQueue()
    token = DutyCycle(requests, share=1.0)
    token.begin()
    token.check()
    requests.put(lambda: None, ends_round=True)
    with pytest.raises(Cancelled):
        token.check()
    assert requests.serve()
    token.check()
    token.cancel()
    with pytest.raises(Cancelled):
        token.check()
