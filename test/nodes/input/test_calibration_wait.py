from __future__ import annotations

from node_support import SECOND

from sam_adapt_ros.messages import Match
from sam_adapt_ros.nodes.input.calibration_wait import MAX_VAIN_WAITS, MAX_WAITING, CalibrationWait

MS = SECOND // 1000
TIMEOUT = 100 * MS


class Wait:
    """Sweeps by number; what each lacks is in ``lacking``, else in ``always``."""

    def __init__(self) -> None:
        self.lacking: dict[int, set[str]] = {}
        self.always: set[str] = set()
        self.out: list[int] = []
        self.wait = CalibrationWait(
            lambda match: self.lacking.get(match.stamp_ns, self.always),
            0.1,
            lambda match: self.out.append(match.stamp_ns),
        )

    def add(self, number: int, now_ns: int) -> None:
        self.wait.add(Match(number, None, {}, ()), now_ns)

    def run(self, sweeps: int, messages_every_ms: int, complete_after_ms: int = 0, start: int = 0) -> list[int]:
        """Sweeps every 100 ms and messages that may complete them; how long each waited, in ms.

        complete_after_ms: when the message comes that completes a sweep; 0: never.
        """
        waited = []
        begun: dict[int, int] = {}
        for now_ms in range(start, start + 100 * sweeps):
            now = now_ms * MS
            for number, since in begun.items():
                if complete_after_ms and now_ms - since >= complete_after_ms:
                    self.lacking[number] = set()
            if now_ms % messages_every_ms == 0:
                self.wait.notify(now)
            if (deadline := self.wait.deadline()) is not None and deadline <= now:
                self.wait.poll(now)
            if now_ms % 100 == 0:
                begun[now_ms] = now_ms
                self.add(now_ms, now)
            waited += [now_ms - begun[number] for number in self.out if number in begun]
            self.out.clear()
        return waited


def test_matches_wait_in_order_for_what_may_come() -> None:
    wait = Wait()
    wait.lacking = {1: {"pose"}, 2: {"pose"}}
    for number in (1, 2, 3):
        wait.add(number, now_ns=10 * number)
    assert wait.out == []
    assert wait.wait.deadline() == TIMEOUT + 10
    wait.lacking[1] = set()
    wait.wait.notify(50)
    assert wait.out == [1]
    assert wait.wait.deadline() == TIMEOUT + 20
    wait.wait.poll(TIMEOUT + 19)
    assert wait.out == [1]
    wait.wait.poll(TIMEOUT + 20)
    assert wait.out == [1, 2, 3]
    assert wait.wait.deadline() is None
    wait.lacking[4] = {"pose"}
    wait.add(4, now_ns=SECOND)
    assert [match.stamp_ns for match in wait.wait.clear()] == [4]
    assert wait.wait.deadline() is None


def test_messages_that_complete_nothing_cost_three_waits() -> None:
    """Odometry without a child frame, of another base frame, of another clock; a CameraInfo that never comes."""
    wait = Wait()
    wait.always = {"transform_missing of lidar"}
    waited = wait.run(30, messages_every_ms=5)
    assert waited == [100] * MAX_VAIN_WAITS + [0] * (30 - MAX_VAIN_WAITS)


def test_what_comes_in_time_is_waited_for_again() -> None:
    wait = Wait()
    wait.always = {"transform_late of lidar"}
    wait.run(10, messages_every_ms=10)
    waited = wait.run(10, messages_every_ms=10, complete_after_ms=80, start=1000)
    assert waited[0] == 0 and set(waited[1:]) == {80}
    later = wait.run(10, messages_every_ms=10, complete_after_ms=150, start=2000)
    assert later[5:] == [0] * len(later[5:]), "too late to be worth it"


def test_what_never_comes_does_not_hide_what_does() -> None:
    """A camera without CameraInfo, and poses 30 ms behind their sweeps: the poses are waited for all the same."""
    wait = Wait()
    wait.always = {"CameraInfo of rear"}
    wait.run(5, messages_every_ms=10)
    for number in range(1000, 2000, 100):
        wait.lacking[number] = {"CameraInfo of rear", "transform_late of lidar"}
    waited = []
    for start in range(1000, 2000, 100):
        wait.add(start, start * MS)
        assert wait.out == []
        wait.lacking[start] = {"CameraInfo of rear"}
        wait.wait.notify((start + 30) * MS)
        waited += wait.out
        wait.out.clear()
    assert waited == list(range(1000, 2000, 100))


def test_memory_is_bounded() -> None:
    wait = Wait()
    wait.always = {"pose"}
    for number in range(1000):
        wait.add(number, number * 10 * MS)
        wait.wait.poll(number * 10 * MS)
    assert len(wait.wait._unwaited) <= 11 and len(wait.wait._waiting) <= 11


def test_no_more_than_so_many_wait() -> None:
    sweeps = Wait()
    for number in range(MAX_WAITING + 3):
        sweeps.lacking[number] = {f"pose {number}"}
        sweeps.add(number, now_ns=0)
    assert sweeps.out == [0, 1, 2]
