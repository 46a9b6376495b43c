import random
import threading
from collections import Counter

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sam_adapt_ros.config import SyncConfig
from sam_adapt_ros.messages import Match, TimeSynchronizer
from sam_adapt_ros.notices import Notices

MS = 1_000_000
T0 = 1_532_402_927_000 * MS
CONFIG = SyncConfig(camera_timeout=0.1, camera_tolerance=0.06, queue_size=8, max_backward_jump=1.0)


class Run:
    """A synchronizer under a simulated clock: messages come at their arrival times, time-outs happen on time."""

    def __init__(self, cameras, config=CONFIG):
        self.matches: list[tuple[int, Match]] = []  # when, what
        self.drops: list[tuple[str, int]] = []
        self.now = 0
        cameras = cameras if isinstance(cameras, dict) else dict.fromkeys(cameras, 0.0)
        self.synchronizer = TimeSynchronizer(
            cameras, config, lambda m: self.matches.append((self.now, m)), lambda *drop: self.drops.append(drop)
        )

    def play(self, events, flush=True):
        """events: (arrival, stream, stamp, payload); stream "" is the LiDAR."""
        for arrival, stream, stamp, payload in sorted(events, key=lambda e: e[0]):
            self.sleep_until(arrival)
            if stream:
                self.synchronizer.add_image(stream, stamp, payload, arrival)
            else:
                self.synchronizer.add_sweep(stamp, payload, arrival)
        if flush:
            self.synchronizer.flush()
        return self

    def sleep_until(self, arrival):
        while (deadline := self.synchronizer.deadline()) is not None and deadline <= arrival:
            self.now = max(self.now, deadline)
            self.synchronizer.tick(self.now)
        self.now = max(self.now, arrival)

    @property
    def counts(self):
        return self.synchronizer.counts


def stream(name, stamps, latency=0, start=0):
    """Messages of one stream. Payloads say whose and which; latency: ms, a number or a function."""
    delay = latency if callable(latency) else lambda: latency
    events, last = [], 0
    for k, stamp in enumerate(stamps):
        last = max(last, start + stamp - T0 + round(delay() * MS))  # a topic's messages do not overtake each other
        events.append((last, name, stamp, (name, k)))
    return events


def every(period_ms, count, offset_ms=0.0, jitter=None):
    shift = jitter if jitter else lambda: 0
    return [T0 + round((k * period_ms + offset_ms + shift()) * MS) for k in range(count)]


def nearest(stamp, stamps, tolerance=60 * MS):
    best = min(stamps, key=lambda s: (abs(s - stamp), s), default=None)
    return best if best is not None and abs(best - stamp) <= tolerance else None


@pytest.mark.parametrize("cameras", [("slow", "fast"), ("fast", "slow")])
def test_sweeps_that_wait_for_a_slow_camera_keep_the_images_of_a_fast_one(cameras):
    config = SyncConfig(camera_timeout=1.0, camera_tolerance=0.06, queue_size=8)
    sweeps = every(100, 100)
    run = Run(cameras, config).play(
        [*stream("", sweeps), *stream("slow", sweeps, latency=600), *stream("fast", every(1000 / 60, 600))]
    )
    assert len(run.matches) == 100
    assert not any(match.missing for _, match in run.matches)
    assert all(abs(match.images["fast"][0] - match.stamp_ns) <= 9 * MS for _, match in run.matches)


# ---------------------------------------------------------------- what must hold whatever comes


@st.composite
def chaos(draw):
    """Any stamps in any order from any stream: zeros, duplicates, jumps both ways, silence."""
    events, now = [], 0
    base = T0
    for k in range(draw(st.integers(0, 60))):
        now += draw(st.integers(0, 60)) * MS
        base += draw(st.sampled_from([0, 20, 50, 50, 100, 100, -30, -3_000, 10_000])) * MS
        stamp = draw(st.sampled_from([base, base, base, base - 20 * MS, base + 40 * MS, 0]))
        events.append((now, draw(st.sampled_from(["", "", "a", "b", "c"])), stamp, k))
    return events


@settings(max_examples=200, deadline=None)
@given(chaos(), st.integers(1, 8), st.sampled_from([0.0, 0.02, 0.1]))
def test_every_sweep_is_matched_or_dropped_exactly_once(events, queue_size, timeout):
    config = CONFIG.model_copy(update={"queue_size": queue_size, "camera_timeout": timeout})
    run = Run("abc", config).play(events)
    sweeps = {payload: (arrival, stamp) for arrival, name, stamp, payload in events if not name}
    matched = [match.sweep for _, match in run.matches]
    assert len(matched) == len(set(matched))
    assert Counter(stamp for _, stamp in run.drops) == Counter(
        stamp for payload, (_, stamp) in sweeps.items() if payload not in set(matched)
    )
    assert run.counts["sweeps"] == len(sweeps) == run.counts["matched"] + len(run.drops)
    assert run.counts["matched"] == len(matched)
    for reason in ("stamp_zero", "out_of_order", "sync_queue_full"):
        assert run.counts[reason] == sum(r == reason for r, _ in run.drops)
    assert matched == sorted(matched)  # in the order they came
    images = {(name, payload): stamp for _, name, stamp, payload in events}
    backwards = 0
    previous = None
    for when, match in run.matches:
        assert when <= sweeps[match.sweep][0] + round(timeout * 1000) * MS
        backwards += previous is not None and match.stamp_ns <= previous
        previous = match.stamp_ns
        assert {*match.images, *match.missing} == set("abc") and not set(match.images) & set(match.missing)
        for name, (stamp, payload) in match.images.items():
            assert images[name, payload] == stamp
            assert abs(stamp - match.stamp_ns) <= 60 * MS
    assert backwards <= run.counts["clock_jump"]
    assert run.synchronizer.deadline() is None


@settings(max_examples=50, deadline=None)
@given(chaos(), st.integers(1, 4))
def test_memory_is_bounded(events, queue_size):
    run = Run("abc", CONFIG.model_copy(update={"queue_size": queue_size})).play(events, flush=False)
    assert len(run.synchronizer._pending) <= queue_size
    assert all(len(track) <= 4 * queue_size for track in run.synchronizer._queues.values())


def test_images_without_sweeps_are_forgotten():
    run = Run("a").play(stream("a", every(33, 1000)))
    assert len(run.synchronizer._queues["a"]) <= 18  # half a second and the tolerance


# ---------------------------------------------------------------- the right images


# No shrinking: the seed decides nearly everything, so that smaller examples are no simpler.
@settings(max_examples=100, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    st.integers(0, 10**6).map(random.Random),
    st.sampled_from([50, 100, 200]),
    st.lists(st.tuples(st.sampled_from([33, 66, 83, 100, 500]), st.integers(0, 99)), min_size=1, max_size=6),
)
def test_the_nearest_images_are_chosen_as_by_an_offline_reference(rng, lidar_period, cameras):
    """Any rates and phases, stamps that jitter by a tenth of the period, latencies that keep everything in time."""
    lidar = every(lidar_period, 40, 200, lambda: rng.uniform(-2, 2))
    stamps = {
        f"c{k}": every(
            period,
            4 + 40 * lidar_period // period + 300 // period,
            phase,
            lambda p=period: rng.uniform(-p / 20, p / 20),
        )
        for k, (period, phase) in enumerate(cameras)
    }
    events = stream("", lidar, lambda: rng.uniform(20, 30))
    for name, own in stamps.items():
        events += stream(name, own, lambda: rng.uniform(0, 50))
    run = Run(list(stamps)).play(events)
    assert [match.stamp_ns for _, match in run.matches] == lidar
    for _, match in run.matches:
        for name, own in stamps.items():
            assert match.images.get(name, (None, None))[0] == nearest(match.stamp_ns, own)


def test_the_order_between_streams_does_not_matter():
    lidar, own = every(100, 20, 5), every(50, 44)
    expected = [nearest(stamp, own) for stamp in lidar]
    for seed in range(50):
        rng = random.Random(seed)
        events = stream("", lidar, lambda r=rng: r.uniform(0, 80)) + stream("a", own, lambda r=rng: r.uniform(0, 40))
        run = Run("a").play(events)
        assert [match.images["a"][0] for _, match in run.matches] == expected


def test_an_image_may_serve_two_sweeps():
    run = Run("a").play(stream("", every(50, 3)) + stream("a", [T0, T0 + 100 * MS], 10))
    assert [match.images["a"][1] for _, match in run.matches] == [("a", 0), ("a", 0), ("a", 1)]


def test_a_time_offset_is_added():
    events = stream("", every(100, 5)) + stream("a", every(100, 5, -40), 45) + stream("b", every(100, 5), 5)
    run = Run({"a": 0.04, "b": 0.0}).play(events)
    for _, match in run.matches:
        assert match.images["a"][0] == match.images["b"][0] == match.stamp_ns
    assert list(run.matches[0][1].images) == ["a", "b"]


def test_six_staggered_cameras():
    """Cameras fire as the LiDAR sweeps past them, 15 ms apart."""
    events = stream("", every(100, 50), 30)
    for k in range(6):
        events += stream(f"c{k}", every(100, 51, k * 15 - 45), 20)
    run = Run([f"c{k}" for k in range(6)]).play(events)
    assert len(run.matches) == 50 and all(not match.missing for _, match in run.matches)


# ---------------------------------------------------------------- no waiting for nothing


def waits(run, latency_ms):
    """ms that each sweep waited after it came."""
    return [(when - (match.stamp_ns - T0)) / MS - latency_ms for when, match in run.matches]


def test_a_sweep_goes_on_when_its_last_image_is_there():
    events = stream("", every(100, 10)) + stream("a", every(100, 10), 5) + stream("b", every(100, 10), 12)
    assert waits(Run("ab").play(events), 0) == [12] * 10


def test_images_that_were_there_first_cost_no_wait():
    events = stream("", every(100, 10), 30) + stream("a", every(100, 10), 5)
    assert waits(Run("a").play(events), 30) == [0] * 10


def test_the_cameras_rhythm_saves_the_wait_for_a_later_image():
    """Images 20 ms before each sweep: once the rhythm is known it is known that the next one cannot be nearer."""
    events = stream("", every(100, 20), 30) + stream("a", every(100, 20, -20), 5)
    got = waits(Run("a").play(events), 30)
    assert got[:2] == [55, 55] and got[6:] == [0] * 14  # before: until the next image, 80 ms later, is there


def test_a_slow_camera_is_not_waited_for_between_its_images():
    """5 Hz images, 20 Hz sweeps, 40 ms tolerance: most sweeps have none, and that is known from the rhythm."""
    config = CONFIG.model_copy(update={"camera_tolerance": 0.04})
    run = Run("a", config).play(stream("", every(50, 100), 10) + stream("a", every(200, 25), 10))
    assert [bool(match.images) for _, match in run.matches] == [True, False, False, False] * 25
    # The last sweep before an image might have been nearer to it, had the camera been a quarter period early.
    assert set(waits(run, 10)[20:]) == {0, 50} and sum(waits(run, 10)[20:]) == 19 * 50
    assert not run.counts["camera_silent.a"]


def test_no_cameras_no_wait():
    run = Run([]).play(stream("", every(100, 5), 3))
    assert waits(run, 3) == [0] * 5


# ---------------------------------------------------------------- cameras that fail


def test_a_sweep_waits_no_longer_than_the_timeout():
    run = Run("ab").play(stream("", every(200, 2)) + stream("a", every(200, 2)), flush=False)
    run.sleep_until(1000 * MS)
    assert waits(run, 0) == [100, 100]
    assert [match.missing for _, match in run.matches] == [("b",), ("b",)]
    assert run.counts["image_missing.b"] == 2


def test_a_camera_that_never_came_holds_up_only_a_few_sweeps():
    run = Run("ab").play(stream("", every(200, 10)) + stream("a", every(200, 10)))
    assert waits(run, 0) == [100, 100, 100] + [0] * 7
    assert run.counts["camera_silent.b"] == 1


def test_a_camera_that_dies_holds_up_only_a_few_sweeps_and_is_welcome_back():
    alive = [T0 + k * 100 * MS for k in range(60) if not 20 <= k < 40]
    run = Run("ab").play(stream("", every(100, 60), 5) + stream("a", every(100, 60), 5) + stream("b", alive, 15))
    got = waits(run, 5)
    assert [match.missing == ("b",) for _, match in run.matches] == [20 <= k <= 40 for k in range(60)]
    assert got[:20] == [10] * 20
    assert sum(wait > 0 for wait in got[20:40]) <= 4 and max(got) <= 100
    assert got[41:] == [10] * 19  # waited for again, one sweep after it came back
    assert run.counts["camera_silent.b"] == 1 and run.counts["image_late.b"] == 1


def test_a_camera_that_is_always_too_late_is_not_waited_for_for_ever():
    run = Run("ab").play(stream("", every(500, 20)) + stream("a", every(500, 20)) + stream("b", every(500, 20), 150))
    assert waits(run, 0) == [100, 100, 100] + [0] * 17
    assert run.counts["image_late.b"] >= 19


def test_all_cameras_silent():
    run = Run("ab").play(stream("", every(100, 20)))
    assert len(run.matches) == 20 and max(waits(run, 0)[4:]) == 0


def test_a_camera_on_another_clock_costs_only_its_own_images():
    wrong = [stamp - 3600 * 1000 * MS for stamp in every(100, 30)]
    events = stream("", every(100, 30)) + stream("a", every(100, 30))
    events += [(k * 100 * MS, "b", stamp, k) for k, stamp in enumerate(wrong)]
    run = Run("ab").play(events)
    assert len(run.matches) == 30 and all(match.missing == ("b",) for _, match in run.matches)
    assert not run.counts["clock_jump"] and max(waits(run, 0)[4:]) == 0


def test_two_lidars_of_different_clocks_are_said_and_a_looping_bag_is_not():
    notices = Notices(lambda _: None)
    synchronizer = TimeSynchronizer({}, CONFIG, lambda _: None, lambda *_: None, notices)

    def notice(stamps):
        for k, stamp in enumerate(stamps):
            synchronizer.add_sweep(stamp, None, k)
        return notices.as_dict().get("sweep_stamps", "")

    assert not notice(T0 + k % 7 * 100 * MS for k in range(1, 70)), "a bag of 0.7 s that loops"
    assert "went back 10 times within 20 sweeps" in notice(T0 + (k * 50 + k % 2 * 37_000) * MS for k in range(40))
    assert not notice(T0 + 60_000 * MS + k * 100 * MS for k in range(20))


def test_one_camera_whose_stamps_flicker_disturbs_nobody():
    events = stream("", every(100, 40), 5) + stream("a", every(100, 40), 5)
    events += [(k * 100 * MS, "b", T0 + (k * 100 + (7_000_000 if k % 5 == 0 else 0)) * MS, k) for k in range(40)]
    run = Run("ab").play(events)
    assert len(run.matches) == 40 and all("a" in match.images for _, match in run.matches)
    assert sum("b" in match.images for _, match in run.matches) >= 20
    assert not run.counts["clock_jump"] and run.counts["image_clock_jump.b"] > 5


# ---------------------------------------------------------------- stamps that fail


def test_stamps_of_zero():
    events = [
        *stream("", every(100, 3)),
        *stream("a", every(100, 3)),
        (50 * MS, "", 0, "zero"),
        (50 * MS, "a", 0, "zero"),
    ]
    run = Run("a").play(events)
    assert run.drops == [("stamp_zero", 0)] and len(run.matches) == 3
    assert run.counts["image_stamp_zero.a"] == 1


def test_sweeps_that_go_back_a_little():
    stamps = [T0, T0 + 100 * MS, T0 + 50 * MS, T0 + 100 * MS, T0 + 200 * MS]
    run = Run([]).play([(k * MS, "", stamp, k) for k, stamp in enumerate(stamps)])
    assert [match.sweep for _, match in run.matches] == [0, 1, 4]
    assert run.drops == [("out_of_order", T0 + 50 * MS), ("out_of_order", T0 + 100 * MS)]


@pytest.mark.parametrize("sweeps", [2, 4, 9])
def test_a_bag_that_loops_within_the_largest_backward_jump(sweeps):
    """Two sweeps a round are lost until the loop is noticed; before, all of the later rounds were."""
    rounds, length = 12, (sweeps + 1) * 100 * MS
    events = []
    for k in range(rounds):
        events += stream("", every(100, sweeps), latency=20, start=k * length)
        events += stream("a", every(100, sweeps, 10), start=k * length)
    run = Run("a").play(events)
    assert len(run.matches) + len(run.drops) == rounds * sweeps
    assert {reason for reason, _ in run.drops} == {"out_of_order"}
    assert len(run.matches) >= (rounds - 1) * max(sweeps - 2, 0) + sweeps
    later = [match for when, match in run.matches if when > 2 * length]
    assert later and run.counts["clock_jump"] >= rounds // 4
    for match in later:
        if "a" in match.images:
            assert match.images["a"][1][1] == match.sweep[1]  # of the same moment
    if sweeps > 4:
        assert sum("a" in match.images for match in later) >= 0.8 * len(later)


def test_images_out_of_order_and_twice():
    run = Run("a")
    for k, offset in enumerate((100, 40, 40)):
        run.play([(k * MS, "a", T0 + offset * MS, k)], flush=False)
    run.play([(5 * MS, "", T0 + 30 * MS, "sweep")])
    assert run.matches[0][1].images["a"] == (T0 + 40 * MS, 1)
    assert run.counts["image_duplicate.a"] == 1


def test_too_many_waiting_sweeps():
    config = CONFIG.model_copy(update={"queue_size": 3})
    run = Run("a", config).play(stream("", every(10, 8)))
    assert run.drops == [("sync_queue_full", stamp) for stamp in every(10, 5)]
    assert [match.stamp_ns for _, match in run.matches] == every(10, 8)[5:]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("length", [15, 40, 200])
def test_a_looping_bag_matches_in_every_loop(length, seed):
    """Messages of the loop before may come after the first of the next one."""
    rng = random.Random(seed)
    events = []
    for loop in range(4):
        start = loop * length * 100 * MS
        events += stream("", every(100, length), lambda: rng.uniform(20, 40), start)
        for k in range(3):
            events += stream(f"c{k}", every(100, length, 15 * k), lambda: rng.uniform(0, 60), start)
    run = Run(["c0", "c1", "c2"]).play(events)
    assert len(run.matches) + len(run.drops) == 4 * length
    whole = sum(not match.missing for _, match in run.matches)
    assert whole >= 4 * length - 6  # about the jumps a sweep or two may go without a camera
    assert 3 <= run.counts["clock_jump"] <= 6 and not run.counts["camera_silent.c0"]


def test_waiting_sweeps_go_on_when_the_clock_jumps():
    run = Run("a")
    run.play([(0, "", T0 + 5000 * MS, "old"), (1 * MS, "", T0, "new")], flush=False)
    assert [match.sweep for _, match in run.matches] == ["old"]
    run.play([(2 * MS, "a", T0, "image")], flush=False)
    assert run.matches[1][1].images["a"] == (T0, "image")


def test_images_of_the_loop_before_do_not_make_the_first_sweep_give_up():
    late = T0 + 5000 * MS
    run = Run("a")
    run.play([(0, "a", late, "old image"), (1 * MS, "", late, "old"), (2 * MS, "", T0, "new")], flush=False)
    assert [match.sweep for _, match in run.matches] == ["old"]
    run.play([(3 * MS, "a", T0, "new image")], flush=False)
    assert run.matches[1][1].images["a"] == (T0, "new image")


def test_images_of_the_new_loop_that_come_before_its_first_sweep_are_kept():
    late = T0 + 5000 * MS
    run = Run("a")
    run.play([(0, "a", late, "old image"), (1 * MS, "", late + 10 * MS, "old")], flush=False)
    run.play([(2 * MS, "a", T0, "new image"), (3 * MS, "", T0, "new")], flush=False)
    assert [(match.sweep, match.images["a"][1]) for _, match in run.matches] == [
        ("old", "old image"),
        ("new", "new image"),
    ]


def test_the_clock_may_jump_ahead_and_back():
    stamps = [*every(100, 5), T0 + 10**7 * MS, *every(100, 10)[5:]]
    events = [(k * 100 * MS, name, stamp, k) for k, stamp in enumerate(stamps) for name in ("a", "")]
    run = Run("a").play(events)
    assert len(run.matches) == 11 and all(match.images for _, match in run.matches)
    assert run.counts["clock_jump"] == 1


# ---------------------------------------------------------------- callers


def test_a_callback_that_fails_loses_nothing_else():
    seen = []

    def on_match(match):
        seen.append(match.sweep)
        if match.sweep == 1:
            raise RuntimeError("the node's fault")

    synchronizer = TimeSynchronizer({}, CONFIG, on_match, lambda *_: None)
    for k in range(4):
        if k == 1:
            with pytest.raises(RuntimeError, match="the node's fault"):
                synchronizer.add_sweep(T0 + k, k, k)
        else:
            synchronizer.add_sweep(T0 + k, k, k)
    assert seen == [0, 1, 2, 3] and synchronizer.deadline() is None


def test_an_unknown_camera_is_a_programming_error():
    with pytest.raises(KeyError):
        Run("a").synchronizer.add_image("b", T0, None, 0)


def test_threads():
    """One thread a stream, as with a multi-threaded executor."""
    matches, drops = [], []
    synchronizer = TimeSynchronizer(dict.fromkeys("ab", 0.0), CONFIG, matches.append, lambda *d: drops.append(d))

    def send(name):
        for k in range(500):
            stamp = T0 + k * 10 * MS
            if name:
                synchronizer.add_image(name, stamp, k, k * 10 * MS)
            else:
                synchronizer.add_sweep(stamp, k, k * 10 * MS)

    threads = [threading.Thread(target=send, args=(name,)) for name in ("", "a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    synchronizer.flush()
    assert len(matches) + len(drops) == 500
    assert [match.sweep for match in matches] == sorted(match.sweep for match in matches)
