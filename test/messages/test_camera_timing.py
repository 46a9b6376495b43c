"""Cameras whose images belong to no sweep: what is said, when it is said, and what is to be set."""

from __future__ import annotations

import pytest

from sam_adapt_ros.config import SyncConfig
from sam_adapt_ros.messages import TimeSynchronizer
from sam_adapt_ros.notices import Notices

MS = 1_000_000
SECOND = 1000 * MS
T0 = 1_532_402_927 * SECOND
CONFIG = SyncConfig(camera_timeout=0.1, camera_tolerance=0.06, queue_size=8, max_backward_jump=1.0)


class Run:
    """10 Hz sweeps that come 30 ms after their stamps, and one camera, ``left``."""

    def __init__(self, time_offset: float = 0.0, config: SyncConfig = CONFIG) -> None:
        self.logged: list[str] = []
        self.notices = Notices(self.logged.append)
        self.matched = 0
        self.synchronizer = TimeSynchronizer({"left": time_offset}, config, self._count, lambda *_: None, self.notices)

    def _count(self, match) -> None:
        self.matched += bool(match.images)

    def play(self, images, sweeps=range(40)) -> Run:
        """images: (stamp, arrival) each, in ms after the first sweep's stamp; a stamp None is 0."""
        events = [(100 * k + 30, 0, 100 * k) for k in sweeps] + [(arrival, 1, stamp) for stamp, arrival in images]
        for arrival, is_image, stamp in sorted(events, key=lambda event: event[:2]):
            now = round(arrival * MS)
            while (deadline := self.synchronizer.deadline()) is not None and deadline <= now:
                self.synchronizer.tick(deadline)
            stamp_ns = 0 if stamp is None else T0 + round(stamp * MS)
            if is_image:
                self.synchronizer.add_image("left", stamp_ns, stamp, now)
            else:
                self.synchronizer.add_sweep(stamp_ns, stamp, now)
        return self

    @property
    def said(self) -> str:
        return self.notices.as_dict().get("camera_sync:left", "")


def images(offset_ms: float, period_ms: float = 100, count: int = 40, latency_ms: float = 20):
    """Images whose stamps are off by a constant, although they are taken and arrive on time."""
    return [(k * period_ms + offset_ms, k * period_ms + latency_ms) for k in range(count)]


def test_a_camera_in_time_is_not_mentioned() -> None:
    for offset in (-59, -20, 0, 40):
        run = Run().play(images(offset))
        run.synchronizer.conclude()
        assert run.matched >= 39 and not run.logged


def test_stamps_just_outside_the_tolerance() -> None:
    """As in a public recording: the exposure is always 60.6 ms before the sweep, 5 Hz each."""
    run = Run().play([(k * 200 - 60.6, k * 200 - 20) for k in range(20)], range(0, 40, 2))
    assert run.matched == 0
    assert len(run.logged) == 1, "said once, though counts change"
    assert run.said.startswith("camera left: none of 20 sweeps ")
    assert "60.6 ms (median) behind them, and sync.camera_tolerance is 60 ms: raise it to 0.07" in run.said
    assert "cameras.left.time_offset to 0.0606" in run.said


@pytest.mark.parametrize("seconds", [37.0, -37.0, 18.0])
def test_the_clock_of_ptp_or_gps(seconds: float) -> None:
    run = Run(time_offset=0.5).play(images(1000 * (seconds - 0.5)))
    assert run.matched == 0
    assert "of another clock" in run.said and ("TAI" in run.said or "GPS time" in run.said)
    assert f"cameras.left.time_offset to {0.5 - seconds:.3f}" in run.said
    healed = Run(time_offset=0.5 - seconds).play(images(1000 * (seconds - 0.5)))
    assert healed.matched == 40 and not healed.logged


def test_a_measured_offset_heals_the_camera() -> None:
    """Clocks 5.23 s apart: what is said to be set lets every sweep be matched."""
    run = Run().play(images(5230))
    offset = float(run.said.split("time_offset to ")[1])
    assert offset == pytest.approx(-5.23, abs=0.05)
    assert Run(time_offset=offset).play(images(5230)).matched >= 39


def test_stamps_since_boot() -> None:
    run = Run().play([(stamp - T0 / MS + 60_000, arrival) for stamp, arrival in images(0)])
    assert run.matched == 0
    assert "of another clock" in run.said and "let its driver stamp" in run.said


def test_stamps_of_zero() -> None:
    run = Run().play([(None, arrival) for _, arrival in images(0)])
    assert run.matched == 0
    assert "have the stamp 0" in run.said


def test_images_that_come_too_late() -> None:
    run = Run().play(images(0, latency_ms=250))
    assert run.matched < 5
    assert "220 ms (median) after their sweep: raise sync.camera_timeout to 0.23" in run.said
    patient = SyncConfig(**{**CONFIG.model_dump(), "camera_timeout": 0.23})
    assert Run(config=patient).play(images(0, latency_ms=250)).matched >= 37


def test_a_camera_at_another_rate_with_a_narrow_tolerance() -> None:
    narrow = SyncConfig(**{**CONFIG.model_dump(), "camera_tolerance": 0.01})
    run = Run(config=narrow).play(images(0, period_ms=103))
    assert "only " in run.said and "time_offset" not in run.said


@pytest.mark.parametrize("period", [33, 50, 200, 500, 1000])
def test_slow_and_fast_cameras_are_not_mentioned(period: float) -> None:
    run = Run().play(images(0, period, 4000 // round(period)))
    run.synchronizer.conclude()
    assert not run.logged


def test_it_takes_a_few_sweeps_and_images_and_ends_when_they_match() -> None:
    early = Run().play(images(5000, count=8), range(8))
    assert not early.logged
    early.synchronizer.conclude()
    assert "none of 8 sweeps" in early.said
    run = Run().play([*images(2000, count=20), *images(0)[20:]])
    assert len(run.logged) == 1 and not run.said, "withdrawn, and said once"
    run.synchronizer.conclude()
    assert not run.said, "most sweeps had their images"


def test_images_that_stop() -> None:
    run = Run().play(images(0)[:15])
    assert "have stopped" in run.said
    assert "have stopped" not in Run().play(images(0, 2000, 2)).said
    back = Run().play([*images(0)[:10], *images(0)[35:]])
    assert len(back.logged) == 1 and not back.said


def test_a_clock_that_was_set_is_measured_as_it_is_now() -> None:
    run = Run().play([*images(0)[:20], *images(37_000)[20:]])
    assert "37.000 s ahead of" in run.said.replace("37.010", "37.000") and "TAI" in run.said


def test_a_clock_that_jumps_is_no_reason_to_raise_the_tolerance() -> None:
    at = [(500 * k + 240 + (5000 if k >= 24 else 0), 500 * k + 260) for k in range(30)]
    run = Run().play(at, range(0, 150, 5))
    run.synchronizer.conclude()
    assert "its clock jumps" in run.said and "raise" not in run.said


def test_a_looping_bag_is_no_other_clock() -> None:
    run = Run().play(images(0))
    run.play([(stamp, arrival + 4000) for stamp, arrival in images(0)], ())
    assert not run.logged
