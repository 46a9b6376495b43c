from pathlib import Path

import cv2
import numpy as np
import pytest

from sam_adapt_ros.evaluation.run_summary import RunSummary
from sam_adapt_ros.frame import IGNORE, CameraView, Frame
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization import pictures
from sam_adapt_ros.visualization.report import Picture, Report, Section, Table
from sam_adapt_ros.visualization.run_report import evenly_spaced


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return Taxonomy.load("town")


def test_report_holds_its_pictures_and_escapes_text(tmp_path: Path) -> None:
    image = tmp_path / "p.png"
    cv2.imwrite(str(image), np.zeros((4, 4, 3), np.uint8))
    section = Section("Part <1>", "text", [Table(("a", "b"), [("x", 0.12345), ("y", None)])], [Picture(image, "a & b")])
    Report("Title", "sub", [section]).write(tmp_path / "report.html")
    image.unlink()
    html = (tmp_path / "report.html").read_text()
    assert "Part &lt;1&gt;" in html
    assert "<td>0.123</td>" in html
    assert "<td>–</td>" in html
    assert 'src="data:image/png;base64,' in html
    assert "a &amp; b" in html


@pytest.mark.parametrize(("total", "expected"), [(0, {0}), (1, {0}), (2, {0, 1}), (10, {0, 3, 6, 9})])
def test_evenly_spaced(total: int, expected: set[int]) -> None:
    assert evenly_spaced(total, 4) == expected


def test_summary_counts_and_judges(taxonomy: Taxonomy) -> None:
    summary = RunSummary(taxonomy)
    truth = np.array([0, 0, 1, IGNORE], np.uint8)
    labels = {
        "fused": np.array([0, 1, 1, 2], np.uint8),
        "3d": np.array([0, 0, 1, 2], np.uint8),
        "2d": np.array([0, IGNORE, IGNORE, 3], np.uint8),
    }
    summary.add(labels, truth)
    summary.add_latencies({"model": 0.010})
    summary.add_latencies({"model": 0.030})
    summary.seconds = 2.0
    facts = summary.as_dict()
    assert (facts["points"], facts["points_seen_by_camera"], facts["fps"]) == (4, 2, 0.5)
    assert facts["miou"]["fused"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert facts["miou"]["3d"] == 1.0
    assert facts["miou"]["2d"] == 1.0  # judged only where a camera sees the point
    assert facts["latency_ms"]["model"]["p50"] == pytest.approx(20.0)


def test_summary_without_ground_truth_claims_no_quality(taxonomy: Taxonomy) -> None:
    summary = RunSummary(taxonomy)
    summary.add({"fused": np.zeros(3, np.uint8)}, None)
    assert "miou" not in summary.as_dict()


def test_the_label_view_puts_what_is_ahead_above_what_is_near(taxonomy: Taxonomy) -> None:
    T_camera_lidar = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64)
    camera = CameraModel(64, 32, np.array([[30, 0, 32], [0, 30, 16], [0, 0, 1.0]]))
    view = CameraView("front", 0, np.zeros((32, 64, 3), np.uint8), camera, T_camera_lidar)
    near, far = [2.0, 0, -1.8], [40.0, 0, -1.8]
    frame = Frame(0, "lidar", np.array([near, far, [20.0, 8.0, -1.8]], np.float32), (view,))
    image = pictures.label_view(frame, np.array([0, 5, 6], np.uint8), taxonomy)

    def place(class_id: int) -> np.ndarray:
        return np.argwhere((image == taxonomy.palette[class_id]).all(axis=2)).mean(axis=0)

    assert place(5)[0] < place(0)[0]  # far is higher in the picture
    assert abs(place(5)[1] - place(0)[1]) < 3  # straight ahead stays in the middle
    assert place(6)[1] < place(0)[1] - 20  # left of the vehicle is left in the picture
    overlay = pictures.overlay_picture(frame, np.array([0, 5, 6], np.uint8), taxonomy)
    assert overlay is not None
    assert overlay.shape[1] == pictures.WIDTH
    assert pictures.label_picture(frame, np.array([0, 5, 6], np.uint8), taxonomy).shape[1] == pictures.WIDTH
