"""A bag through the shipped segmenter in process: whole, repeatable, and read ahead of the model."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from sam_adapt_ros.bags import BagReader, MessageReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError, OutputError, WeightsError
from sam_adapt_ros.messages import read_labels, stamp_ns
from sam_adapt_ros.pipelines.bag_frames import read_ahead
from sam_adapt_ros.pipelines.replay import replay
from sam_adapt_ros.simulation import render_drive

FRAMES = 6


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("town") / "day"
    render_drive("day", seed=7, frames=FRAMES, output=path)
    return path


@pytest.fixture(scope="module")
def replayed(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("replay")
    replay(bag, Config.load("town"), output)
    return output


def test_what_was_done_before_an_interruption_is_kept(bag: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    run = replay(bag, Config.load("town"), tmp_path, stages=lambda _: nullcontext(interrupt))
    assert {stage: len(seconds) for stage, seconds in run.latencies.items()} == dict.fromkeys(run.latencies, 2)
    assert sum(run.latencies["model"]) < run.seconds
    summary = run.as_dict()
    assert summary["interrupted"]
    assert summary["frames_in"] == summary["frames_labelled"] == 2
    assert len(recorded_labels(tmp_path / "labels")) == 2
    assert (tmp_path / "report.html").exists()
    assert signal.getsignal(signal.SIGINT) is before


def recorded_labels(bag: Path) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    with MessageReader(bag) as source:
        decoded = [message.decode() for message in source.messages({"/segmentation/labels"})]
    return {stamp_ns(message.header): read_labels(message) for message in decoded}


def test_every_sweep_is_labelled_at_its_own_stamp_point_for_point(bag: Path, replayed: Path) -> None:
    labels = recorded_labels(replayed / "labels")
    with BagReader(bag, Config.load("town")) as reader:
        frames = list(reader.frames())
    assert sorted(labels) == [frame.stamp_ns for frame in frames]
    for frame in frames:
        points, class_id, probability = labels[frame.stamp_ns]
        np.testing.assert_array_equal(points, frame.points)
        assert class_id.max() < 8
        assert probability is not None and 0 < probability.min() <= probability.max() <= 1


def test_summary_has_what_it_promises(replayed: Path) -> None:
    summary = json.loads((replayed / "summary.json").read_text())
    assert summary["frames_in"] == summary["frames_labelled"] == FRAMES
    assert summary["dropped"] == {}
    assert 0 < summary["points_seen_by_camera"] < summary["points"]
    assert summary["fps"] > 0
    assert {"p50", "p90", "p99"} == set(summary["latency_ms"]["model"])
    for branch in ("2d", "3d", "fused"):
        assert 0 < summary["miou"][branch] <= 1
        assert set(summary["iou"][branch]) >= {"road", "pole"}
        matrix = np.array(summary["confusion"][branch])
        assert matrix.shape == (8, 8)
    # The shipped model has not seen this drive; a broken projection or fusion falls far below this.
    assert summary["miou"]["fused"] > 0.6


def test_report_shows_pictures(replayed: Path) -> None:
    html = (replayed / "report.html").read_text()
    assert html.count("<img") == html.count("data:image/") >= 5
    assert {path.name for path in (replayed / "pictures").iterdir()} >= {
        "iou.png",
        "confusion.png",
        "overlay_00.jpg",
        "labels_00.jpg",
    }


def test_two_runs_give_identical_labels(bag: Path, replayed: Path, tmp_path: Path) -> None:
    replay(bag, Config.load("town"), tmp_path)
    first, second = recorded_labels(replayed / "labels"), recorded_labels(tmp_path / "labels")
    assert first.keys() == second.keys()
    for stamp, (_, class_id, probability) in first.items():
        np.testing.assert_array_equal(class_id, second[stamp][1])
        np.testing.assert_array_equal(probability, second[stamp][2])


def test_existing_output_is_refused(bag: Path, replayed: Path) -> None:
    with pytest.raises(OutputError, match=r"summary\.json exists; choose another output or give --force"):
        replay(bag, Config.load("town"), replayed)


def test_weights_of_another_taxonomy_are_refused(bag: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"town_small\.safetensors: taxonomy: nuscenes6 expected"):
        replay(bag, Config.load("town", {"taxonomy": "nuscenes6"}), tmp_path)


def test_reading_ahead_keeps_order_and_is_bounded() -> None:
    produced = []

    def items() -> Iterator[int]:
        for number in range(50):
            produced.append(number)
            yield number

    taken = []
    for number, waited in read_ahead(items(), 3):
        time.sleep(0.001)
        assert waited >= 0
        taken.append(number)
        assert len(produced) <= len(taken) + 3 + 2  # the queue, one in hand, one being made
    assert taken == list(range(50))


def test_an_error_while_reading_ahead_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise BagError("cut short")

    results = read_ahead(items(), 3)
    assert next(results)[0] == 1
    with pytest.raises(BagError, match="cut short"):
        next(results)


def test_leaving_early_ends_the_reading_thread() -> None:
    def items() -> Iterator[int]:
        while True:
            yield 0

    results = read_ahead(items(), 2)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]
