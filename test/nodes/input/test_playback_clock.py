from __future__ import annotations

import pytest

from sam_adapt_ros.nodes.input.playback_clock import PlaybackClock

MS = 1_000_000
SECOND = 1000 * MS


class Clocks:
    """A steady clock, and simulated time that ticks at 100 Hz."""

    def __init__(self, simulated: int = 0) -> None:
        self.steady, self.simulated, self._time = 7 * SECOND, simulated, float(simulated)
        self.clock = PlaybackClock(lambda: self.simulated, lambda: self.steady)

    def run(self, seconds: float, rate: float | None = None, reads_every_ms: int = 3) -> float:
        """Seconds that the clock advanced. rate: of simulated time; None: it stands still."""
        start = self.clock.now()
        for step in range(1, round(seconds * 1000) + 1):
            self.steady += MS
            self._time += MS * (rate or 0.0)
            if rate and step % 10 == 0:
                self.simulated = round(self._time)
            if step % reads_every_ms == 0:
                before = self.clock.now()
                assert self.clock.now() >= before
        return (self.clock.now() - start) / SECOND


def test_without_simulated_time_it_is_the_steady_clock() -> None:
    clocks = Clocks()
    assert clocks.run(12.3) == pytest.approx(12.3, abs=1e-9)
    assert clocks.clock.steady(clocks.clock.now() + 5 * MS) == clocks.steady + 5 * MS


@pytest.mark.parametrize("rate", [0.02, 0.2, 0.5, 1.0, 5.0])
@pytest.mark.parametrize("reads_every_ms", [1, 7, 400])
def test_it_runs_as_slowly_as_simulated_time_and_never_faster_than_the_steady_clock(rate, reads_every_ms) -> None:
    clocks = Clocks(100 * SECOND)
    clocks.run(1.0, rate, reads_every_ms)
    assert clocks.run(5.0, rate, reads_every_ms) == pytest.approx(5.0 * min(rate, 1.0), rel=0.05, abs=0.02)
    wait = 100 * MS
    assert clocks.clock.steady(clocks.clock.now() + wait) == clocks.steady + wait, "it may be looked at too early"


def test_the_first_ticks_already_slow_it_down() -> None:
    clocks = Clocks()
    clocks.run(3.0)
    clocks.simulated = 50 * SECOND
    clocks._time = 50.0 * SECOND
    assert clocks.run(0.5, 0.2) < 0.13


def test_when_simulated_time_stops_waits_end_soon() -> None:
    """A bag that is over, or paused."""
    clocks = Clocks(100 * SECOND)
    clocks.run(3.0, 0.2)
    assert clocks.run(0.7) == pytest.approx(0.2, abs=0.02)
    assert clocks.run(2.0) == pytest.approx(2.0)
    assert clocks.run(2.0, 0.2) == pytest.approx(0.4, abs=0.05)


def test_a_loop_or_a_jump_of_simulated_time_is_none_of_this_clock() -> None:
    for jump in (-90, 3600):
        clocks = Clocks(100 * SECOND)
        clocks.run(2.5, 1.0)
        clocks._time += jump * SECOND
        clocks.simulated = round(clocks._time)
        assert clocks.run(1.0, 1.0) == pytest.approx(1.0, abs=0.05)
