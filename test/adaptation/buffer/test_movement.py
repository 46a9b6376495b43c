import json
from dataclasses import replace

import numpy as np
import pytest
from buffer_support import flat_summary, make_frame, make_summary, positions, small
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.adaptation import FrameBuffer
from sam_adapt_ros.adaptation.buffer.movement import MovementGate

SECOND = 1_000_000_000


def at(x, y=0.0):
    pose = np.eye(4)
    pose[:2, 3] = x, y
    return pose


def considered(gate, frames):
    """Places in ``frames``, (seconds, pose), of those that are considered."""
    found = []
    for place, (seconds, pose) in enumerate(frames):
        if gate.has_moved(round(seconds * SECOND), pose):
            gate.consider()
            found.append(place)
    return found


def test_frames_are_due_by_distance_and_without_odometry_by_time():
    gate = MovementGate(min_distance=1.0, nominal_speed=10.0)
    assert considered(gate, [(0, at(x)) for x in (0.0, 0.4, 0.9, 1.0, 1.5, 2.1)]) == [0, 3, 5]
    assert considered(gate, [(s, None) for s in (0.1, 0.15, 0.21, 0.25, 0.32)]) == [0, 2, 4]


def test_noise_of_a_standing_vehicles_odometry_never_adds_up():
    rng = np.random.default_rng(0)
    gate = MovementGate(1.0, 10.0)
    assert considered(gate, [(i / 10, at(*rng.normal(0, 0.1, 2))) for i in range(1000)]) == [0]
    assert gate.distance > 50


def test_stamps_that_do_not_advance_are_no_drive_and_pauses_one_second_of_it():
    gate = MovementGate(1.0, 10.0)
    seconds = [0, 0.1, 0.15, -1e9, 1e9, 1e9 + 0.1]
    assert considered(gate, [(s, None) for s in seconds]) == [0, 1, 4, 5]
    assert gate.distance == pytest.approx(1.0 + 0.5 + 0.0 + 10.0 + 1.0)


def test_a_loop_of_the_bag_is_considered_from_its_start_on():
    gate = MovementGate(1.0, 10.0)
    lap = [(i / 10, at(0.5 * i)) for i in range(11)]
    assert considered(gate, lap) == considered(gate, lap) == [0, 2, 4, 6, 8, 10]


def test_what_was_not_considered_does_not_count():
    gate = MovementGate(1.0, 10.0)
    considered(gate, [(0, at(0))])
    assert [gate.has_moved(0, at(x)) for x in (0.5, 1.5, 1.6)] == [False, True, True]
    gate.consider()
    assert not gate.has_moved(0, at(2.5))
    gate.forget_considered()
    assert gate.has_moved(0, at(2.5))


@st.composite
def streams(draw):
    """(stamp_ns, pose or None): drives, stops, odometry that comes and goes or breaks, pauses, jumps of the clock."""
    stamp, x, frames = 0, 0.0, []
    for _ in range(draw(st.integers(1, 60))):
        stamp += round(SECOND * draw(st.sampled_from([0.1, 0.1, 0.1, 0.0, 5.0, -3.0])))
        x += draw(st.sampled_from([0.0, 0.0, 0.4, 1.0, 3.0, -30.0]))
        pose = draw(st.sampled_from(["known", "known", "known", "none", "broken"]))
        frames.append((stamp, {"known": at(x), "none": None, "broken": at(np.nan)}[pose]))
    return frames


@settings(max_examples=100, deadline=None)
@given(frames=streams())
def test_asked_twice_and_stopped_in_between_the_gate_answers_the_same(frames):
    once, twice = MovementGate(1.0, 8.0), MovementGate(1.0, 8.0)
    for stamp, pose in frames:
        moved = once.has_moved(stamp, pose)
        assert [twice.has_moved(stamp, pose), twice.has_moved(stamp, pose)] == [moved, moved]
        np.testing.assert_array_equal(once.position, twice.position)
        if moved:
            once.consider()
            twice.consider()
        resumed = MovementGate(1.0, 8.0)
        resumed.restore(json.loads(json.dumps(twice.state())))
        twice = resumed
    assert once.distance == twice.distance


@settings(max_examples=30, deadline=None)
@given(frames=streams(), data=st.data())
def test_frames_that_are_asked_about_before_decoding_and_frames_that_are_not_are_kept_alike(frames, data):
    """Live intake asks before it decodes, a replay offers every frame; any mixture keeps the same."""
    replayed, mixed = FrameBuffer(small(split_gap=1.0)), FrameBuffer(small(split_gap=1.0))
    for seed, (stamp, pose) in enumerate(frames):
        frame = replace(make_frame(seed, stamp_ns=stamp, points=5), T_odom_lidar=pose)
        summary = make_summary(np.random.default_rng(seed))
        kept = replayed.add(frame, summary)
        if data.draw(st.booleans()):
            admission = mixed.admit(stamp, pose)
            assert kept == (admission is not None and mixed.add(frame, summary, admission))
        else:
            assert kept == mixed.add(frame, summary)
    assert mixed.counts == replayed.counts
    assert sum(mixed.counts.values()) == len(frames)
    assert mixed.training().keys == replayed.training().keys
    assert mixed.held_out().keys == replayed.held_out().keys


def test_a_frame_that_turns_out_unfit_was_considered_all_the_same():
    buffer = FrameBuffer(small())
    assert buffer.admit(0, at(5.0)) is not None  # then found to be unfit: not added
    assert buffer.admit(1, at(5.5)) is None
    assert buffer.add(make_frame(2, (6.5, 0.0)), flat_summary())
    assert buffer.counts == {"kept": 1, "standing": 1}
    assert positions(buffer.training())[0, 0] == 6.5
