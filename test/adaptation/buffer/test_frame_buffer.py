import gc
import os
import shutil
import signal
import tempfile
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from buffer_support import CLASSES, assert_same_frame, drive, flat_summary, make_frame, make_summary, positions, small
from store_weights import die_at

from sam_adapt_ros.adaptation import FrameBuffer, summarize
from sam_adapt_ros.adaptation.buffer import eviction
from sam_adapt_ros.adaptation.buffer.stored_frame import ImageStorage, StoredFrame
from sam_adapt_ros.errors import StoreError

# What is kept --------------------------------------------------------------------------------------------------------


def test_a_standing_vehicle_adds_nothing():
    buffer = FrameBuffer(small())
    said = [buffer.add(make_frame(i, (5.0, 5.0)), flat_summary()) for i in range(50)]
    assert said == [True] + [False] * 49
    assert buffer.counts == {"kept": 1, "standing": 49}


def test_a_standing_vehicle_that_sees_something_new_learns_from_it():
    """A parked vehicle, 10 sweeps a second: a car stops beside it at 3 s, and leaves at 6 s; a truck comes at 9.2 s."""
    looks = [(0.7, 0.3, 0, 0)] * 30 + [(0.5, 0.3, 0.2, 0)] * 30 + [(0.7, 0.3, 0, 0)] * 32 + [(0.3, 0.2, 0, 0.5)] * 20
    buffer = FrameBuffer(small())
    said = [buffer.add(make_frame(i, (5.0, 5.0)), flat_summary(look)) for i, look in enumerate(looks)]
    assert [place for place, kept in enumerate(said) if kept] == [0, 30, 100]  # looked at once a second
    assert buffer.counts == {"kept": 3, "standing": len(looks) - 3}
    again = [buffer.add(make_frame(i, (5.0, 5.0)), flat_summary(look)) for i, look in enumerate(looks)]
    assert not any(again)  # a second pass over the bag


def test_a_vehicle_that_creeps_is_due_by_the_metres_all_the_same():
    buffer = FrameBuffer(small(held_out=0))
    said = [buffer.add(make_frame(i, (0.02 * i, 0.0)), flat_summary()) for i in range(201)]  # 0.2 m a second, 4 m
    assert [place for place, kept in enumerate(said) if kept] == [0, 50, 100, 150, 200]


def test_what_is_new_far_away_is_new_here():
    buffer = FrameBuffer(small(held_out=0))
    car, empty = flat_summary((0.5, 0.3, 0.2, 0)), flat_summary()
    assert buffer.add(make_frame(0, (0.0, 0.0)), car)
    assert buffer.add(make_frame(1, (100.0, 0.0)), empty)
    assert buffer.add(make_frame(20, (100.0, 0.0)), car)
    assert not buffer.add(make_frame(40, (100.0, 0.0)), car)


def test_a_short_drive_is_split_more_finely_and_stays_so(tmp_path):
    """22 m along a diagonal, as in the recording of San Francisco: all of it in two blocks, both to learn from."""
    buffer = FrameBuffer(small(max_frames=100, split_block=15.0, split_gap=2.5, seed=3))
    places = [(0.72 * i, 0.71 * i) for i in range(23)]
    drive_along = lambda: [  # noqa: E731
        buffer.add(make_frame(i, place), make_summary(np.random.default_rng(i))) for i, place in enumerate(places)
    ]
    drive_along()
    kept = len(buffer)
    assert kept == 23 and len(buffer.held_out()) == 0
    assert buffer.fit_split(100, 2) == ""
    assert len(buffer.training()) == kept
    assert buffer.fit_split(10, 2).endswith(" m")
    training, held_out = positions(buffer.training()), positions(buffer.held_out())
    assert len(training) >= 10 and len(held_out) >= 2
    assert buffer.counts["kept"] == len(buffer) and buffer.counts["near_border"] == kept - len(buffer)
    buffer.save(tmp_path)
    buffer = FrameBuffer.load(tmp_path, buffer.config)
    drive_along()  # a second pass
    assert {*map(tuple, positions(buffer.training()))} <= {*map(tuple, training)}
    assert {*map(tuple, positions(buffer.held_out()))} <= {*map(tuple, held_out)}
    assert len(buffer.training()) > 1.5 * len(training)


def test_a_parked_vehicles_frames_are_split_by_time():
    buffer = FrameBuffer(small(max_frames=100, seed=3))
    for i in range(0, 600, 10):
        buffer.add(make_frame(i, (5.0, 5.0)), make_summary(np.random.default_rng(i)))
    kept = len(buffer)
    assert kept > 40 and not len(buffer.held_out())
    assert buffer.fit_split(10, 2) == "11.8 s"
    training, held_out = ([frame.stamp_ns / 1e9 for frame in kind] for kind in (buffer.training(), buffer.held_out()))
    assert len(training) >= 10 and len(held_out) >= 2
    assert held_out[-1] - held_out[0] < 11.8  # one block
    assert min(abs(a - b) for a in training for b in held_out) >= 11.8 / 5  # split_gap is a fifth of split_block here


def test_frames_come_from_the_whole_drive_instead_of_its_end():
    buffer = FrameBuffer(small(half_life=0, held_out=0))
    for i in range(200):
        buffer.add(make_frame(i, (2.0 * i, 0.0)), flat_summary())
    x = np.sort(positions(buffer.training())[:, 0])
    assert len(x) == 20
    assert x[0] < 40
    assert x[-1] > 360
    assert np.diff(x).max() < 80


def test_rare_classes_and_new_looks_stay(monkeypatch):
    monkeypatch.setattr(eviction, "DISTANCE_SCALE", 1000.0)
    buffer = FrameBuffer(small(half_life=0, held_out=0))
    rare = {30, 90, 150}
    for i in range(200):
        buffer.add(make_frame(i, (2.0 * i, 0.0)), flat_summary((0.5, 0, 0, 0.5) if i in rare else (1, 0, 0, 0)))
    kept = {round(x / 2) for x in positions(buffer.training())[:, 0]}
    assert rare <= kept


def test_the_old_fades():
    config = small(half_life=20.0, held_out=0)
    buffer = FrameBuffer(config)
    drive(buffer, 300)
    assert positions(buffer.training())[:, 0].mean() > 0.8 * 600


def test_held_out_frames_are_apart_from_training_on_every_lap():
    buffer = FrameBuffer(small(max_frames=60))
    trained, kept_apart = {}, {}
    for lap in range(3):
        for i in range(80):
            angle = 2 * np.pi * i / 80 + 0.013 * lap
            position = (40 * np.cos(angle), 40 * np.sin(angle))
            buffer.add(make_frame(lap * 80 + i, position), make_summary(np.random.default_rng(i)))
            # Whatever was ever offered to learn from counts, not only what is left.
            trained |= dict(zip(buffer.training().keys, positions(buffer.training()), strict=True))
            kept_apart |= dict(zip(buffer.held_out().keys, positions(buffer.held_out()), strict=True))
    assert len(kept_apart) > 10
    gaps = np.linalg.norm(np.array([*trained.values()])[:, None] - np.array([*kept_apart.values()]), axis=2)
    assert gaps.min() >= 2.0
    assert not trained.keys() & kept_apart.keys()


def test_the_split_is_the_seeds():
    def split(seed):
        buffer = FrameBuffer(small(max_frames=200, seed=seed))
        drive(buffer, 100)
        return buffer.training().keys, buffer.held_out().keys

    assert split(1) == split(1)
    assert split(1) != split(2)


def test_odometry_that_comes_and_goes_or_is_not_finite():
    buffer = FrameBuffer(small(max_frames=100))
    for i in range(60):
        frame = make_frame(i, (2.0 * i, 0.0), odometry=i % 3 != 0)
        if i % 5 == 0 and frame.T_odom_lidar is not None:
            frame.T_odom_lidar[0, 3] = np.nan
        buffer.add(frame, make_summary(np.random.default_rng(i)))
    assert len(buffer) > 10
    assert np.isfinite(buffer.distance_driven)


def test_clear_forgets_frames_but_not_what_was_held_out():
    buffer = FrameBuffer(small(max_frames=200))
    drive(buffer, 100)
    before = positions(buffer.training()), positions(buffer.held_out())
    keys = set(buffer.training().keys) | set(buffer.held_out().keys)
    buffer.clear()
    assert len(buffer) == 0
    assert buffer.nbytes == 0
    drive(buffer, 100)
    np.testing.assert_array_equal(before[0], positions(buffer.training()))
    np.testing.assert_array_equal(before[1], positions(buffer.held_out()))
    assert not keys & set(buffer.training().keys)


# Limits --------------------------------------------------------------------------------------------------------------


def test_frames_and_bytes_stay_within_their_limits():
    one = StoredFrame.encode(make_frame(0), ImageStorage()).nbytes
    by_bytes = FrameBuffer(small(max_megabytes=12.5 * one / 1e6, max_frames=1000))
    by_count = FrameBuffer(small(max_frames=7))
    for i in range(150):
        summary = make_summary(np.random.default_rng(i))
        for buffer in (by_bytes, by_count):
            buffer.add(make_frame(i, (2.0 * i, 0.0)), summary)
            assert buffer.nbytes <= buffer.config.max_megabytes * 1e6
            assert len(buffer) <= buffer.config.max_frames
            assert buffer.nbytes == sum(e.frame.nbytes for frames in buffer._sets.values() for e in frames.entries)
    assert len(by_bytes.training()) >= 8
    assert len(by_bytes.held_out()) >= 1
    assert len(by_count) == 7


def test_a_frame_larger_than_the_limit_is_refused_and_costs_none():
    buffer = FrameBuffer(small(max_megabytes=0.05, held_out=0))
    assert buffer.add(make_frame(0, (0, 0)), flat_summary())
    assert not buffer.add(make_frame(1, (2, 0), points=10_000), flat_summary())
    assert buffer.counts == {"kept": 1, "too_large": 1}
    assert len(buffer) == 1


def test_memory_is_flat_over_twenty_rounds():
    tracemalloc.start()  # first, so that frames which are replaced are counted as well
    buffer = FrameBuffer(small(max_frames=10))
    drive(buffer, 60, points=2000)
    sizes = []
    for number in range(1, 21):
        drive(buffer, 12, start=60 * number, points=2000)
        for sequence in (buffer.training(), buffer.held_out()):
            for frame in sequence:
                assert len(frame.points) == 2000
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    # Less than one frame: all that grows is the memory of places, 100 bytes a block driven through.
    assert max(sizes[5:]) - sizes[4] < 24_000


def test_frames_are_added_while_others_learn():
    buffer = FrameBuffer(small(max_frames=10))
    drive(buffer, 30)
    failures = []

    def learn():
        try:
            for _ in range(40):
                sequence = buffer.training()
                keys = sequence.keys
                assert [frame.stamp_ns for frame in sequence] == [sequence[i].stamp_ns for i in range(len(keys))]
                assert len(sequence[1:3]) == 2
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=learn) for _ in range(2)]
    for thread in threads:
        thread.start()
    drive(buffer, 150, start=30)
    for thread in threads:
        thread.join()
    assert not failures


def test_a_summary_tells_frames_apart_by_classes_and_by_colours():
    def labels(*values):
        return np.array(values, np.uint8)

    frame = make_frame(0, views=2)
    a = summarize(frame, labels(0, 0, 1, 255), CLASSES)
    np.testing.assert_allclose(a.histogram, [2 / 3, 1 / 3, 0, 0])
    other = summarize(frame, labels(3, 3, 3), CLASSES)
    assert np.linalg.norm(a.descriptor - other.descriptor) == pytest.approx(1)
    for view in frame.views:
        view.image[:] = 0
    dark = summarize(frame, labels(0, 0, 1), CLASSES)
    assert 0.1 < np.linalg.norm(a.descriptor - dark.descriptor) <= 1
    nothing = summarize(make_frame(0, views=0), labels(255), CLASSES)
    assert not nothing.histogram.any()
    assert np.isnan(nothing.confidence)
    assert np.isnan(a.confidence)
    sure = summarize(frame, labels(0, 1, 255), CLASSES, np.float32([0.5, 0.75, 0]))
    assert sure.confidence == 0.625
    assert np.isfinite(nothing.descriptor).all()
    assert len(nothing.descriptor) == len(a.descriptor)


# State ---------------------------------------------------------------------------------------------------------------


def assert_same_buffer(a, b):
    assert a.counts == b.counts
    assert a.distance_driven == b.distance_driven
    for ours, theirs in ((a.training(), b.training()), (a.held_out(), b.held_out())):
        assert ours.keys == theirs.keys
        for left, right in zip(ours, theirs, strict=True):
            assert_same_frame(left, right)


@pytest.mark.parametrize("first", [0, 1, 37])
def test_a_resumed_buffer_goes_on_as_one_that_was_never_stopped(tmp_path, first):
    whole, stopped = FrameBuffer(small()), FrameBuffer(small())
    drive(whole, first)
    drive(stopped, first)
    stopped.save(tmp_path)
    resumed = FrameBuffer.load(tmp_path, small())
    assert_same_buffer(whole, resumed)
    drive(whole, 60, start=first)
    drive(resumed, 60, start=first)
    assert_same_buffer(whole, resumed)
    resumed.save(tmp_path)
    assert_same_buffer(whole, FrameBuffer.load(tmp_path, small()))
    assert len(list(tmp_path.iterdir())) == len(whole) + 1


def test_saving_again_writes_only_what_is_new(tmp_path):
    buffer = FrameBuffer(small(max_frames=100))
    drive(buffer, 20)
    buffer.save(tmp_path)
    before = {path.name: path.stat().st_ino for path in tmp_path.glob("frame-*")}
    drive(buffer, 5, start=20)
    buffer.save(tmp_path)
    after = {path.name: path.stat().st_ino for path in tmp_path.glob("frame-*")}
    assert before.items() <= after.items()
    assert len(after) == len(buffer) > len(before)


def test_a_kill_at_every_step_of_saving_leaves_the_old_state_or_the_new(tmp_path):
    old = FrameBuffer(small(max_frames=4))
    drive(old, 20)
    new = FrameBuffer(small(max_frames=4))
    drive(new, 40)
    for kills in range(1, 200):
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            old.save(folder)
            running = FrameBuffer.load(folder, small(max_frames=4))
            drive(running, 20, start=20)
            child = os.fork()
            if child == 0:
                die_at(kills)
                running.save(folder)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            resumed = FrameBuffer.load(folder, small(max_frames=4))
            assert resumed.counts in (old.counts, new.counts)
            assert_same_buffer(resumed, old if resumed.counts == old.counts else new)
            resumed.save(folder)
            assert len(list(Path(folder).iterdir())) == len(resumed) + 1
        if status == 0:
            break
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    assert kills > 10


def test_damaged_states_are_named(tmp_path, caplog):
    buffer = FrameBuffer(small())
    with pytest.raises(StoreError, match=r"index\.npz") as error:
        FrameBuffer.load(tmp_path, small())
    assert error.value.reason == "missing"
    drive(buffer, 20)
    buffer.save(tmp_path)
    whole = tmp_path / "index.npz"
    content = whole.read_bytes()
    for length in range(0, len(content), 97):
        whole.write_bytes(content[:length])
        with pytest.raises(StoreError, match=r"index\.npz") as error:
            FrameBuffer.load(tmp_path, small())
        assert error.value.reason == "damaged"
    whole.write_bytes(content)
    victim = sorted(tmp_path.glob("frame-*"))[3]
    victim.write_bytes(victim.read_bytes()[:100])
    shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    assert len(FrameBuffer.load(tmp_path, small())) == len(buffer) - 1
    assert victim.name in caplog.text


def test_a_state_that_was_split_otherwise_is_refused(tmp_path):
    buffer = FrameBuffer(small())
    drive(buffer, 20)
    buffer.save(tmp_path)
    for other in (small(seed=5), small(held_out=0.1), small(split_block=11.0), small(split_gap=1.0)):
        with pytest.raises(StoreError, match="split by") as error:
            FrameBuffer.load(tmp_path, other)
        assert error.value.reason == "refused"


def test_a_smaller_limit_holds_for_what_is_resumed(tmp_path):
    buffer = FrameBuffer(small(max_frames=40))
    drive(buffer, 40)
    buffer.save(tmp_path)
    resumed = FrameBuffer.load(tmp_path, small(max_frames=8))
    assert 0 < len(resumed) <= 8


def test_a_full_disk_is_named_and_the_old_state_stays(tmp_path, monkeypatch):
    buffer = FrameBuffer(small())
    drive(buffer, 10)
    buffer.save(tmp_path)
    old = FrameBuffer.load(tmp_path, small())
    drive(buffer, 10, start=10)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(StoreError, match="No space left") as error:
            buffer.save(tmp_path)
    assert error.value.reason == "disk_full"
    assert_same_buffer(FrameBuffer.load(tmp_path, small()), old)
    buffer.save(tmp_path)
    assert_same_buffer(FrameBuffer.load(tmp_path, small()), buffer)
