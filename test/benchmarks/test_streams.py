"""The long run, with a small network: benchmarks/stream.py measures the same in the town."""

from pathlib import Path

import numpy as np
import pytest
from learning_support import drive, online_run

from sam_adapt_ros.benchmarks import stream
from sam_adapt_ros.benchmarks.stream import Leg, drive_through, join, memory
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import ConfigError


def test_drives_are_joined_far_from_each_other() -> None:
    frames = list(join([drive(2), drive(2)]))
    assert [number for number, _ in frames] == [0, 0, 1, 1]
    stamps = [frame.stamp_ns for _, frame in frames]
    assert stamps == sorted(stamps)
    x = [frame.T_odom_lidar[0, 3] for _, frame in frames]
    np.testing.assert_allclose(x[2:], np.add(x[:2], 1000))
    assert drive(1)[0].T_odom_lidar[0, 3] == 2.5  # the drive's own frames are left alone


def test_a_stream_that_returns_to_the_day_ends_where_it_began(tmp_path: Path) -> None:
    run = online_run(tmp_path, **{"drift.window": 6, "drift.new_frames": 6, "rounds.new_frames": 12})
    legs = [Leg("day", 0), Leg("dusk", 0), Leg("day", 1)]
    drives = [drive(14, seed=100), drive(16, seed=200, dusk=True), drive(16, seed=300)]
    unseen = {"day": drive(5, seed=900), "dusk": drive(5, seed=950, dusk=True)}
    result = drive_through(run, legs, drives, unseen)
    assert result.after["dusk"][1] > result.source["dusk"]  # it was learned
    assert result.change("day") >= -0.01
    assert len(result.after["day"]) == 3
    by_leg = {row["leg"]: row for row in result.decisions}
    assert set(by_leg) == {0, 1, 2}
    assert "drift" in {row["cause"] for row in result.decisions}
    assert sum(by_leg[1]["frames"].values()) <= 16  # of dusk alone


@pytest.mark.soak
def test_many_drives_end_no_lower_than_one(tmp_path: Path) -> None:
    run = online_run(tmp_path, **{"buffer.max_frames": 20, "rounds.new_frames": 8})
    drives = [drive(16, seed=100 * number, dusk=True) for number in range(1, 11)]
    legs = [Leg("dusk", number) for number in range(10)]
    result = drive_through(run, legs, drives, {"dusk": drive(8, seed=5000, dusk=True)})
    assert len(run.decisions) >= 10
    assert result.after["dusk"][-1] >= result.after["dusk"][0] - 0.01
    assert min(result.after["dusk"]) >= result.source["dusk"]


@pytest.mark.parametrize("rounds", [pytest.param(20, marks=pytest.mark.soak), 4])
def test_memory_is_flat_over_rounds(rounds: int, tmp_path: Path) -> None:
    run = online_run(tmp_path, **{"buffer.max_frames": 12, "self_training.steps": 2, "self_training.batch_size": 1})
    frames = (frame for _, frame in join(drive(16, seed=100 * number, dusk=True) for number in range(1, rounds + 2)))
    result = memory(run, frames, rounds, every=3)
    assert len(result.resident) == rounds
    assert max(result.buffer[3:]) <= 1.2 * result.buffer[2]
    assert result.growth < 30, result.resident


def test_an_unknown_stream_is_named() -> None:
    with pytest.raises(ConfigError, match="long, return, memory expected, got nonsense"):
        stream.bench_streams(Config.load("town"), ["nonsense"])


def test_the_table_has_values_and_targets() -> None:
    long = {"shift": "night", "seed": 110, "change": 0.01, "after": {"night": [0.7, 0.71]}}
    back = {"seed": 110, "change": -0.002, "source": {"day": 0.8, "night": 0.6}, "after": {"day": [0.8, 0.7, 0.798]}}
    back["after"]["night"] = [0.6, 0.66, 0.61]
    resident = {"seed": 110, "growth": 1.5, "resident": [500.0, 510.0, 511.5]}
    rows = stream.figures({"long": [long], "return": [back], "memory": [resident]})
    values = [value for _, value, _ in rows]
    assert values[0].startswith("+0.0100 (first 0.7000, last 0.7100")
    assert values[1].startswith("-0.0020 (0.7980")
    assert values[2] == "+0.0600"
    assert values[3] == "+1.5 MB of 512"
