"""Clouds that are not around their sensor, or not in metres, through the whole pipeline.

The same drive is recorded as a vehicle would that registers its clouds in a map: points in ``odom``, and TF from there
to the vehicle, which is far from the map's origin.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sam_adapt_ros.adaptation.monitoring.rollback_monitor import frame_statistics
from sam_adapt_ros.bags import BagReader, BagWriter, MessageReader
from sam_adapt_ros.config import Config, VisibilityConfig
from sam_adapt_ros.evaluation.segmentation_metrics import FUSED_SEEN, Evaluation
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.messages import encode_cloud, read_labels, read_points
from sam_adapt_ros.pipelines.replay import replay
from sam_adapt_ros.pseudo_labels import PreparedFrame
from sam_adapt_ros.segmentation import Prediction, load_segmenter

FAR = {"300 m": (300.0, -120.0, 5.0), "UTM": (500_000.0, 5_400_000.0, 110.0)}
CONFIG = Config.load("town", {"segmenter.threads": 1})


def record(
    source: Path, target: Path, change: Callable[[Frame, np.ndarray], tuple[str, np.ndarray]], shift=(0, 0, 0), tf=True
):
    """A copy of a bag with other clouds, and the odometry frame's origin moved."""
    with BagReader(source, CONFIG) as reader:
        frames = {frame.stamp_ns: frame for frame in reader.frames()}
    with MessageReader(source) as reader, BagWriter(target) as writer:
        for message in reader.messages():
            msg = message.decode()
            if message.topic == "/LIDAR_TOP":
                frame = frames[msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec]
                frame_id, points = change(frame, read_points(msg).exact_points())
                cloud = encode_cloud(dict(zip("xyz", points.T, strict=True)))
                writer.write_cloud("/LIDAR_TOP", frame.stamp_ns, frame_id, cloud)
                continue
            if message.topic in ("/tf", "/odom"):
                if not tf:
                    continue
                at = [each.transform.translation for each in msg.transforms] if message.topic == "/tf" else []
                for place in at or [msg.pose.pose.position]:
                    place.x, place.y, place.z = (a + b for a, b in zip((place.x, place.y, place.z), shift, strict=True))
            latched = message.topic == "/tf_static"
            writer.write(message.topic, msg, message.log_time_ns, transient_local=latched)
    shutil.copy(source / "calibration.yaml", target)


def registered(shift, kind, frame: Frame, points: np.ndarray) -> tuple[str, np.ndarray]:
    T = frame.T_odom_lidar
    return "odom", (points @ T[:3, :3].T + T[:3, 3] + shift).astype(kind)


def labelled(bag: Path) -> tuple[list[Frame], list[Prediction], Evaluation, list[str]]:
    segmenter, config = load_segmenter(CONFIG)
    evaluation = Evaluation(segmenter.taxonomy)
    with BagReader(bag, config) as reader:
        frames = list(reader.frames())
        predictions = [segmenter(frame) for frame in frames]
        for frame, prediction in zip(frames, predictions, strict=True):
            evaluation.add(frame, prediction)
        return frames, predictions, evaluation, list(reader.notices)


@pytest.fixture(scope="module")
def plain(night_bag: Path):
    return labelled(night_bag)


@pytest.fixture(scope="module")
def nearby(night_bag: Path, tmp_path_factory: pytest.TempPathFactory):
    """Registered, with the map's origin where the drive began."""
    bag = tmp_path_factory.mktemp("registered") / "bag"
    record(night_bag, bag, partial(registered, (0, 0, 0), np.float64))
    return labelled(bag)


def test_a_registered_cloud_is_labelled_as_in_the_sensors_frame(plain, nearby) -> None:
    """The bag's calibration file says where on the vehicle the LiDAR is."""
    frames, predictions, evaluation, notices = nearby
    assert notices == []
    for one, other in zip(frames, plain[0], strict=True):
        assert one.frame_id == "odom" and len(one.views) == len(other.views) == 1
        np.testing.assert_allclose(one.points, other.points, atol=1e-4)
        np.testing.assert_allclose(one.T_odom_lidar, other.T_odom_lidar, atol=1e-9)
        np.testing.assert_allclose(one.views[0].T_camera_lidar, other.views[0].T_camera_lidar, atol=1e-9)
    for key in ("fused", "2d", FUSED_SEEN):
        assert evaluation.miou(key) == pytest.approx(plain[2].miou(key), abs=0.003), key
    agree = [(one.labels == other.labels).mean() for one, other in zip(predictions, plain[1], strict=True)]
    assert min(agree) > 0.995


def test_without_a_calibration_file_it_is_brought_to_the_vehicle(night_bag: Path, plain, tmp_path: Path) -> None:
    """From where other points share voxels: near enough."""
    record(night_bag, tmp_path / "bag", partial(registered, FAR["UTM"], np.float64), FAR["UTM"])
    (tmp_path / "bag" / "calibration.yaml").unlink()
    frames, predictions, evaluation, _ = labelled(tmp_path / "bag")
    for one, other in zip(frames, plain[0], strict=True):
        mounted = other.points @ other.T_base_lidar[:3, :3].T + other.T_base_lidar[:3, 3]
        np.testing.assert_allclose(one.points, mounted, atol=1e-4)
        np.testing.assert_allclose(
            one.T_odom_lidar[:3, 3] - FAR["UTM"],
            (other.T_odom_lidar @ np.linalg.inv(other.T_base_lidar))[:3, 3],
            atol=1e-6,
        )
    agree = [(one.labels == other.labels).mean() for one, other in zip(predictions, plain[1], strict=True)]
    assert min(agree) > 0.97
    assert evaluation.miou(FUSED_SEEN) == pytest.approx(plain[2].miou(FUSED_SEEN), abs=0.03)


@pytest.mark.parametrize(("far", "kind"), [("300 m", np.float32), ("300 m", np.float64), ("UTM", np.float64)])
def test_how_far_the_maps_origin_is_changes_nothing(night_bag: Path, nearby, tmp_path: Path, far: str, kind) -> None:
    record(night_bag, tmp_path / "bag", partial(registered, FAR[far], kind), FAR[far])
    frames, predictions, evaluation, notices = labelled(tmp_path / "bag")
    assert notices == []
    for one, other in zip(frames, nearby[0], strict=True):
        np.testing.assert_allclose(one.points, other.points, atol=1e-4)
        assert one.published_points[0, 0] == pytest.approx(other.published_points[0, 0] + FAR[far][0], abs=0.05)
    agree = [(one.labels == other.labels).mean() for one, other in zip(predictions, nearby[1], strict=True)]
    assert min(agree) > 0.995
    for key in ("fused", "2d", FUSED_SEEN):
        assert evaluation.miou(key) == pytest.approx(nearby[2].miou(key), abs=0.003), key


def test_numbers_that_are_too_coarse_are_said(night_bag: Path, tmp_path: Path) -> None:
    record(night_bag, tmp_path / "bag", partial(registered, FAR["UTM"], np.float32), FAR["UTM"])
    (notice,) = labelled(tmp_path / "bag")[3]
    assert "float32 coordinates are rounded to 0.500 m" in notice and "float64" in notice


def test_without_tf_the_sensor_is_guessed_and_said_so(night_bag: Path, plain, tmp_path: Path) -> None:
    record(night_bag, tmp_path / "bag", partial(registered, FAR["UTM"], np.float64), tf=False)
    frames, predictions, evaluation, (missing, notice) = labelled(tmp_path / "bag")
    assert "transforms.odometry_topic: no topic /odom" in missing
    assert "frame odom is not the sensor's" in notice and "guessed at the middle of the points" in notice
    assert all(frame.views == () and frame.T_odom_lidar is None for frame in frames)
    assert all((prediction.labels != IGNORE).mean() > 0.99 for prediction in predictions)
    assert evaluation.miou("3d") == pytest.approx(plain[2].miou("3d"), abs=0.1)


def test_millimetres_get_no_labels_and_are_said(night_bag: Path, tmp_path: Path) -> None:
    record(night_bag, tmp_path / "bag", lambda frame, points: (frame.frame_id, (1000 * points).astype(np.float32)))
    summary = replay(tmp_path / "bag", CONFIG, tmp_path / "out")
    text = "\n".join(summary.notices)
    assert "half of the points are more than" in text and "millimetres?" in text
    assert "of the points are beyond the cube around the sensor" in text
    with MessageReader(tmp_path / "out" / "labels") as reader:
        for message in reader.messages():
            points, labels, probability = read_labels(message.decode())
            outside = (np.abs(points) > 250).any(1)
            assert outside.mean() > 0.99 and (labels[outside] == IGNORE).all() and not probability[outside].any()


@pytest.mark.parametrize("length", [0.0, 150.0])
def test_missing_returns_have_no_label_and_no_influence(night_bag: Path, plain, tmp_path: Path, length: float) -> None:
    """As points at the origin, or in the sky at the sensor's largest range; a third of the cloud."""

    def with_missing(frame: Frame, points: np.ndarray) -> tuple[str, np.ndarray]:
        count = len(points) // 2
        azimuth, elevation = np.random.default_rng(0).uniform((-np.pi, 0), (np.pi, 0.5), (count, 2)).T
        rays = [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
        return frame.frame_id, np.concatenate([points, length * np.stack(rays, 1)]).astype(np.float32)

    record(night_bag, tmp_path / "bag", with_missing)
    unlabelled = CONFIG.updated({"ground_truth.topic": ""})
    segmenter, _ = load_segmenter(unlabelled)
    with BagReader(tmp_path / "bag", unlabelled) as reader:
        for frame, expected in zip(reader.frames(), plain[1], strict=True):
            prediction, count = segmenter(frame), len(expected.labels)
            np.testing.assert_array_equal(prediction.labels[:count], expected.labels)
            np.testing.assert_array_equal(prediction.fused[:count], expected.fused)
            assert (prediction.labels[count:] == IGNORE).all() and not prediction.probability[count:].any()
            assert not prediction.seen[count:].any()
            statistics, clean = frame_statistics(prediction), frame_statistics(expected)
            assert statistics.confidence == pytest.approx(clean.confidence) and statistics.agreement == clean.agreement
            np.testing.assert_allclose(statistics.histogram, clean.histogram)
            prepared = PreparedFrame.of(frame, segmenter.network.architecture, VisibilityConfig())
            assert max(seen.index.max() for seen in prepared.seen) < count and prepared.sample.rows.max() < count
            truth = np.full(len(frame.points), 7, np.uint8)  # as if someone had labelled them "pole"
            truth[:count] = 0
            evaluation = Evaluation(segmenter.taxonomy)
            evaluation.add(replace(frame, ground_truth=truth), prediction)
            assert not evaluation.confusion["fused"].counts[7].any()
            assert np.linalg.norm(frame.published_points[-1]) == pytest.approx(length)
        said = ["constant range, 150.00 m" in notice for notice in reader.notices]
        assert said == ([True] if length else [])
