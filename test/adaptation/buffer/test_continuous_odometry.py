"""Odometry that begins anew: what is driven then is kept apart on the map from what was driven before."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from buffer_support import flat_summary, make_frame, small

from sam_adapt_ros.adaptation import FrameBuffer
from sam_adapt_ros.adaptation.buffer import continuous_odometry
from sam_adapt_ros.adaptation.buffer.continuous_odometry import ContinuousOdometry

SECOND = 1_000_000_000
DAY = 86_400.0


def at(x, y=0.0):
    pose = np.eye(4)
    pose[:2, 3] = x, y
    return pose


def placed(odometry, *frames):
    """x of the frames, (seconds, x), on the map."""
    return [odometry.place(round(seconds * SECOND), at(x))[0, 3] for seconds, x in frames]


@pytest.mark.parametrize(
    ("frames", "anew"),
    [
        ([(10.0, 100.0), (10.1, 101.5)], False),  # it drives on
        ([(10.0, 40.0), (10.1, 20.0)], False),  # a localization corrects itself
        ([(10.0, 500.0), (10.1, 0.0)], True),  # the odometry's node was started anew
        ([(10.0, 500.0), (15.0, 300.0)], False),  # sweeps were missing for a while
        ([(10.0, 150.0), (21.0, 40.0)], False),
        ([(10.0, 500.0), (DAY, 20.0)], True),  # switched on the next day
        ([(10.0, 4e6), (DAY, 4e6 + 30.0)], False),  # the same, where poses are of a map
        ([(10.0, 2000.0), (DAY, 500.0)], False),  # driven meanwhile, in a map
        ([(10.0, 1.0), (DAY, 2.0)], False),  # it has returned to where it was switched on
        ([(0.0, 0.0), (10.0, 500.0), (0.0, 0.0)], False),  # a bag loops
        ([(1000.0, 500.0), (0.0, 0.0)], True),  # another bag, or a clock that begins anew, too
    ],
)
def test_where_odometry_has_begun_anew(frames, anew, caplog):
    with caplog.at_level(logging.WARNING):
        found = placed(ContinuousOdometry(), *frames)
    assert found == [x for _, x in frames[:-1]] + [frames[-1][1] + (100_000.0 if anew else 0.0)]
    assert ("odometry has begun anew" in caplog.text) == anew


def test_each_drive_has_its_place_and_goes_on_there():
    odometry = ContinuousOdometry()
    assert placed(odometry, (1, 300.0), (1.1, 0.0), (1.2, 1.0), (DAY, 0.0)) == [300, 100_000, 100_001, 100_000]
    assert placed(odometry, (DAY + 20, 400.0), (2 * DAY, 0.0)) == [100_400, 200_000]


def test_a_bag_that_loops_is_driven_on_the_same_maps_again():
    """Odometry begins anew within it, too."""
    odometry = ContinuousOdometry()
    lap = [(0.0, 0.0), (20.0, 400.0), (21.0, 0.0), (40.0, 390.0)]
    first = placed(odometry, *lap)
    assert first == [0, 400, 100_000, 100_390]
    assert placed(odometry, *lap, *lap) == first + first
    assert placed(odometry, (41.0, 0.0)) == [200_000]


def test_a_wrong_pose_splits_no_map():
    assert placed(ContinuousOdometry(), (0, 100.0), (0.1, 1e5), (0.2, 101.0)) == [100.0, 1e5, 101.0]


def test_odometry_that_begins_anew_all_the_time_has_bounded_effects(monkeypatch, caplog):
    monkeypatch.setattr(continuous_odometry, "MOST_DRIVES", 30)
    odometry = ContinuousOdometry()
    found = placed(odometry, *((k, 400.0 * (k % 2)) for k in range(200)))
    assert max(found) <= 30 * 100_000
    assert len(caplog.records) == 19


def test_poses_are_not_written_to_and_what_is_unknown_stays_so():
    odometry, pose = ContinuousOdometry(), at(0.0)
    placed(odometry, (0, 300.0))
    assert odometry.place(SECOND // 10, pose)[0, 3] == 100_000
    assert (pose == at(0.0)).all()
    assert odometry.place(SECOND, None) is None
    assert np.isnan(odometry.place(SECOND, at(np.nan))[0, 3])


def test_another_process_goes_on_where_the_one_before_has_ended():
    before, after = ContinuousOdometry(), ContinuousOdometry()
    placed(before, (1, 300.0), (1.1, 0.0), (30, 200.0))
    after.restore(json.loads(json.dumps(before.state())))
    assert placed(after, (60, 210.0), (DAY, 0.0)) == [100_210, 200_000]


def test_two_drives_of_a_buffer_that_was_saved_never_meet(tmp_path):
    """A vehicle is switched off after 60 m and on again elsewhere, with odometry from 0 on."""
    buffer = FrameBuffer(small())
    for begin in (0.0, DAY):
        for step in range(60):
            stamp = round((begin + step / 2) * SECOND)
            pose = buffer.place(stamp, at(float(step)))
            admission = buffer.admit(stamp, pose)
            if admission is not None:
                frame = replace(make_frame(step), stamp_ns=stamp, T_odom_lidar=pose)
                buffer.add(frame, flat_summary(), admission)
        metres = buffer.distance_driven
        buffer.save(tmp_path)
        buffer = FrameBuffer.load(tmp_path, small())
    places = np.array([entry.traits.position[0] for entry in buffer.entries()])
    assert (places < 60).any() and (places >= 100_000).any() and (places < 100_060).all()
    assert metres == pytest.approx(2 * 59 + 8)
