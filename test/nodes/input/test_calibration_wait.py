from __future__ import annotations

from node_support import SECOND

from sam_adapt_ros.messages import Match
from sam_adapt_ros.nodes.input.calibration_wait import MAX_VAIN_WAITS, CalibrationWait


def match(number: int) -> Match:
    return Match(number, None, {}, ())


def test_matches_wait_for_what_may_come_in_order_until_waiting_was_in_vain() -> None:
    missing = {1, 2}
    out: list[int] = []
    wait = CalibrationWait(lambda match: match.stamp_ns in missing, 0.1, lambda match: out.append(match.stamp_ns))
    wait.add(match(1), now_ns=0)
    wait.add(match(2), now_ns=10)
    wait.add(match(3), now_ns=20)
    assert out == []
    assert wait.deadline() == 100_000_000
    missing.discard(1)
    wait.notify(30)
    assert out == [1]
    assert wait.deadline() == 100_000_010
    wait.poll(100_000_009)
    assert out == [1]
    wait.poll(100_000_010)
    assert out == [1, 2, 3]
    assert wait.deadline() is None
    missing.update(range(10, 20))
    for number in range(10, 10 + MAX_VAIN_WAITS - 1):  # one wait was in vain already
        wait.add(match(number), now_ns=SECOND)
        wait.poll(2 * SECOND)
    wait.add(match(15), now_ns=3 * SECOND)
    assert out[-1] == 15, "no more waiting for what never comes"
    wait.notify(4 * SECOND)
    wait.add(match(16), now_ns=4 * SECOND)
    assert out[-1] == 15, "waiting again, for something came"
    assert [each.stamp_ns for each in wait.clear()] == [16]
    assert wait.deadline() is None
