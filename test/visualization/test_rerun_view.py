"""What the live view shows, read back from the .rrd file that it leaves."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rerun_support import read_rrd

from sam_adapt_ros.errors import ConfigError, OutputError
from sam_adapt_ros.frame import IGNORE, CameraView, Frame
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization.rerun_view import RerunView, file_or_viewer

pytest.importorskip("rerun")

TOWN = Taxonomy.load("town")
OPTICAL = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])  # lidar axes -> camera axes
LAYERS = {"source": "source model", "truth": "ground truth"}


def frame(place: int) -> Frame:
    """Three points ahead, one behind, one that is no measurement; the sensor is 2 m above the vehicle's origin."""
    points = np.array([[10, 0, 0], [10, 1, 0], [20, 0, 2], [-5, 0, 0], [np.nan] * 3], np.float32)
    camera = CameraModel(1920, 960, np.array([[960.0, 0, 959.5], [0, 960.0, 479.5], [0, 0, 1]]))
    image = np.full((960, 1920, 3), (200, 40 * place, 10), np.uint8)
    mounted = np.eye(4)
    mounted[2, 3] = 2.0
    view = CameraView("front", 0, image, camera, OPTICAL)
    return Frame(1_000_000_000 * (place + 1), "lidar", points, (view,), T_base_lidar=mounted)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[Any]]]:
    path = tmp_path_factory.mktemp("view") / "new" / "view.rrd"
    with RerunView(TOWN, LAYERS, "a drive", path) as view:
        for place in range(3):
            labels = {
                "source": np.array([0, 1, IGNORE, 3, IGNORE], np.uint8),
                "truth": np.array([0, 2, 2, 3, IGNORE], np.uint8),
            }
            view.show(frame(place), labels, {"source": 0.25 * place if place else float("nan")})
        view.say("round 1: refused")
    assert view.frames == 3
    assert [each.name for each in path.parent.iterdir()] == ["view.rrd"]
    return read_rrd(path)


def test_every_entity_is_there_and_no_other(shown: dict[str, dict[str, list[Any]]]) -> None:
    assert {entity for entity in shown if not entity.startswith("/__")} == {
        "/",
        "/source/cloud",
        "/truth/cloud",
        "/cameras/front/image",
        "/cameras/front/source",
        "/cameras/front/truth",
        "/curve/source",
        "/curve/truth",
        "/events",
    }


def test_clouds_are_where_the_vehicle_has_them_in_the_colours_of_their_classes(
    shown: dict[str, dict[str, list[Any]]],
) -> None:
    cloud = shown["/source/cloud"]
    assert cloud["frame"] == [0, 1, 2]
    assert cloud["stamp"] == [1_000_000_000, 2_000_000_000, 3_000_000_000]
    for positions, classes, colors in zip(
        cloud["Points3D:positions"], cloud["Points3D:class_ids"], cloud["Points3D:colors"], strict=True
    ):
        np.testing.assert_allclose(positions, [[10, 0, 2], [10, 1, 2], [20, 0, 4], [-5, 0, 2]])
        assert classes == [0, 1, IGNORE, 3]
        expected = [(int(r) << 24) + (int(g) << 16) + (int(b) << 8) + 255 for r, g, b in TOWN.colors[classes]]
        assert colors == expected


def test_images_are_small_and_the_points_lie_on_what_they_hit(shown: dict[str, dict[str, list[Any]]]) -> None:
    images = shown["/cameras/front/image"]["EncodedImage:blob"]
    for place, (blob,) in enumerate(images):
        image = cv2.imdecode(np.array(blob, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (480, 960, 3)
        assert np.abs(image[100, 100].astype(int) - (10, 40 * place, 200)).max() < 6
    over = shown["/cameras/front/source"]
    np.testing.assert_allclose(over["Points2D:positions"][0], [[480, 240], [432, 240]])  # without the one not labelled
    assert over["Points2D:class_ids"][0] == [0, 1]
    assert [len(points) for points in shown["/cameras/front/truth"]["Points2D:positions"]] == [3, 3, 3]


def test_the_curve_has_a_value_where_there_is_one(shown: dict[str, dict[str, list[Any]]]) -> None:
    curve = shown["/curve/source"]
    assert curve["Scalars:scalars"] == [[0.25], [0.5]]
    assert curve["SeriesLines:names"] == [["source model"]]
    assert "Scalars:scalars" not in shown["/curve/truth"]
    assert shown["/events"]["TextLog:text"] == [["round 1: refused"]]


def test_the_classes_are_named(shown: dict[str, dict[str, list[Any]]]) -> None:
    ((context,),) = shown["/"]["AnnotationContext:context"]
    named = {each["class_id"]: each["class_description"]["info"]["label"] for each in context}
    assert named == {**dict(enumerate(TOWN.classes)), IGNORE: "no label"}


def test_what_was_shown_until_an_interruption_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "view.rrd"
    with pytest.raises(KeyboardInterrupt), RerunView(TOWN, LAYERS, "a drive", path) as view:
        view.show(frame(0), {"source": np.zeros(5, np.uint8)}, {})
        raise KeyboardInterrupt
    assert len(read_rrd(path)["/source/cloud"]["frame"]) == 1


def test_where_there_is_no_display_a_file_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert file_or_viewer(None, Path("view.rrd")) == Path("view.rrd")
    assert file_or_viewer(tmp_path / "mine.rrd", Path("view.rrd")) == tmp_path / "mine.rrd"
    monkeypatch.setenv("DISPLAY", ":0")
    assert file_or_viewer(None, Path("view.rrd")) is None


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.split(".")[0] == "rerun":
            raise ImportError("No module named 'rerun'")
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'sam_adapt_ros\[view\]'"):
        file_or_viewer(None, tmp_path / "view.rrd")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"), RerunView(TOWN, LAYERS, "", tmp_path / "file" / "view.rrd"):
        pass
