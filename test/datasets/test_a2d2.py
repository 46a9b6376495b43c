"""A2D2's reader on what can be wrong with its files; ``test/pipelines/layouts`` has what a frame is."""

from __future__ import annotations

import json
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dataset_mutations import mutate

from sam_adapt_ros.datasets import A2D2, Selection
from sam_adapt_ros.errors import BagError, SamAdaptError, TaxonomyError
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.pipelines.layouts import a2d2
from sam_adapt_ros.taxonomy import Taxonomy

TEN = Taxonomy.load("a2d2_semantickitti10")
RECORDING = "20180807_145028"
SET = "camera_lidar_semantic"
FRAME = f"{SET}/{RECORDING}/{{0}}/cam_front_center/20180807145028_{{0}}_frontcenter_000000000.{{1}}"
IMAGE, INFO, CLOUD, LABEL = (
    FRAME.format(*each) for each in (("camera", "png"), ("camera", "json"), ("lidar", "npz"), ("label", "png"))
)
LIST, SENSORS = f"{SET}/class_list.json", "cams_lidars.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a2d2")
    a2d2.write(folder, frames=1, seed=0, recordings=(RECORDING,))
    return folder


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "a2d2")


def read(root: Path, **options: Any) -> Any:
    return A2D2([root], Selection(**options), TEN)[0]


def edit_json(name: str, change: Callable[[Any], None]) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        content = json.loads((root / name).read_text())
        change(content)
        (root / name).write_text(json.dumps(content))

    return edit


def edit_cloud(**changes: Callable[[np.ndarray], Any]) -> Callable[[Path], None]:
    """Arrays that are made of ``points``; None takes one away."""

    def edit(root: Path) -> None:
        with np.load(root / CLOUD) as file:
            arrays = dict(file)
        made = {name: change(arrays["points"]) for name, change in changes.items()}
        kept = {name: values for name, values in (arrays | made).items() if values is not None}
        np.savez(root / CLOUD, **kept, allow_pickle=True)

    return edit


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def cut(name: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:-40])


def paint(name: str, color: tuple[int, int, int] = (3, 2, 1), size: tuple[int, int] = (480, 302)) -> Any:
    return lambda root: cv2.imwrite(str(root / name), np.full((size[1], size[0], 3), color, np.uint8))


CAMERA = "cameras.front_center"
BAD: list[tuple[Callable[[Path], object], str]] = [
    (remove(IMAGE), rf"camera/cam_front_center: 1 of 1 files are missing.*{Path(IMAGE).name}.*--allow-missing"),
    (remove(LABEL), rf"label/cam_front_center: 1 of 1 files are missing.*{Path(LABEL).name}.*--allow-missing"),
    (remove(LIST), "class_list.json: cannot be read: No such file"),
    (remove(SENSORS), "cams_lidars.json: cannot be read: No such file"),
    (remove(CLOUD), r"lidar/cam_front_center: no files 20180807145028_lidar_frontcenter_000000000\.npz"),
    (cut(IMAGE), rf"{Path(IMAGE).name}: .*PNG of \d+ bytes without its end"),
    (cut(LABEL), rf"{Path(LABEL).name}: .*PNG of \d+ bytes without its end"),
    (cut(CLOUD), rf"{Path(CLOUD).name}: cannot be read \(BadZipFile"),
    (lambda root: (root / CLOUD).write_bytes(b""), rf"{Path(CLOUD).name}: is empty"),
    (edit_cloud(row=lambda points: points[:-1, 0]), r"npz: row: \d+ numbers expected, got float64 of shape"),
    (edit_cloud(points=lambda points: points[:, :2]), "npz: points: N x 3 numbers expected"),
    (edit_cloud(points=lambda points: None), "npz: an array points expected, got none"),
    (edit_cloud(points=lambda points: points.astype(object)), r"npz: cannot be read \(ValueError: Object arrays"),
    (edit_cloud(reflectance=lambda points: points.astype(str)), "npz: reflectance: .* numbers expected"),
    (paint(LABEL), rf"{Path(LABEL).name}: colours of class_list.json expected, got #010203 at \d+ of \d+ points"),
    (paint(LABEL, size=(240, 151)), rf"{Path(LABEL).name}: 240 x 151, but the calibration is of 480 x 302"),
    (paint(IMAGE, size=(240, 151)), rf"{Path(IMAGE).name}: 240 x 151, but the calibration is of 480 x 302"),
    (edit_json(LIST, lambda it: it.update({"#010203": "Carr"})), r"'#010203': a class of A2D2 expected, got 'Carr'"),
    (edit_json(LIST, lambda it: it.update({"red": "Car 1"})), "colours such as #c80000 expected, got 'red'"),
    (edit_json(LIST, lambda it: it.clear()), r"class_list.json: names by colour \(#rrggbb\) expected"),
    (lambda root: (root / SENSORS).write_text("{"), "cams_lidars.json: not JSON"),
    (edit_json(SENSORS, lambda it: it["cameras"].clear()), rf"cams_lidars.json: {CAMERA}: Field required"),
    (
        edit_json(SENSORS, lambda it: it["cameras"]["front_center"].pop("CamMatrix")),
        rf"cams_lidars.json: {CAMERA}.CamMatrix: Field required",
    ),
    (
        edit_json(SENSORS, lambda it: it["cameras"]["front_center"]["Distortion"][0].pop()),
        rf"cams_lidars.json: {CAMERA}.Distortion.0.4: Field required",
    ),
    (
        edit_json(SENSORS, lambda it: it["cameras"]["front_center"].update(Lens="Fisheye")),
        rf"cams_lidars.json: {CAMERA}.Lens: Input should be 'Telecam'",
    ),
    (
        edit_json(SENSORS, lambda it: it["cameras"]["front_center"]["view"].update({"y-axis": [1.0, 0.0, 0.0]})),
        rf"cams_lidars.json: {CAMERA}.view: x-axis and y-axis that span a plane expected",
    ),
    (
        edit_json(SENSORS, lambda it: it["cameras"]["front_center"]["CamMatrix"][0].__setitem__(0, 0)),
        rf"cams_lidars.json: {CAMERA}: camera matrix K: positive focal lengths",
    ),
    (edit_json(INFO, lambda it: it.pop("cam_tstamp")), rf"{Path(INFO).name}: cam_tstamp: microseconds expected"),
    (edit_json(INFO, lambda it: it.pop("pcld_view")), rf"{Path(INFO).name}: pcld_view: origin, x-axis and y-axis"),
    (
        edit_json(INFO, lambda it: it["pcld_view"].update(origin=[0.0, 0.0, 0.0])),
        rf"{Path(INFO).name}: pcld_view: the view of cameras.front_center expected",
    ),
]


@pytest.mark.parametrize(("damage", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_input_is_named(root: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(root)
    with pytest.raises(BagError, match=message):
        read(root)


def test_what_is_not_there_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for roots, selection, message in [
        ([tmp_path / "none"], Selection(), "none: no such folder"),
        ([tmp_path / "empty"], Selection(), "no recordings: A2D2's folders 20180807_145028"),
        ([root], Selection("train"), "20 of 20 recordings of split train are not there: 20180810_142822"),
        ([root], Selection("val"), "split: one of train, test expected, got 'val'"),
        ([root], Selection(cameras=("CAM_BACK",)), r"no camera CAM_BACK \(has CAM_FRONT\)"),
        ([root, shutil.copytree(root, tmp_path / "again")], Selection(), "is the recording of .* again"),
    ]:
        with pytest.raises(BagError, match=message):
            A2D2(roots, selection)
    with pytest.raises(TaxonomyError, match="no mapping 'a2d2'"):
        A2D2([root], taxonomy=Taxonomy.load("nuscenes6"))


def test_frames_that_are_not_whole_are_left_out_where_allowed(root: Path) -> None:
    for name in (IMAGE, INFO, LABEL, CLOUD):
        shutil.copy(root / name, root / name.replace("000000000", "000000007"))
    (root / LABEL).unlink()
    notices = Notices()
    dataset = A2D2([root], Selection(allow_missing=True), TEN, notices)
    assert dataset.ids == [f"{RECORDING}/000000007"] and dataset[0].ground_truth is not None
    assert "1 of 2 files are missing" in notices.as_dict()[f"missing:{RECORDING}_label"]


def test_without_labels_there_is_no_ground_truth(root: Path) -> None:
    shutil.rmtree(root / SET / RECORDING / "label")
    (root / LIST).unlink()
    assert read(root).ground_truth is None


def test_the_files_may_lie_flat(root: Path, tmp_path: Path) -> None:
    """As xMUDA wants them: recordings, list and sensors in one folder."""
    flat = tmp_path / "flat"
    shutil.copytree(root / SET, flat)
    shutil.copy(root / SENSORS, flat)
    assert np.array_equal(read(flat).ground_truth, read(root).ground_truth)


def test_names_of_the_other_sets_are_known(root: Path) -> None:
    expected = read(root)
    with np.load(root / CLOUD) as file:
        arrays = {"pcloud_points" if name == "points" else f"pcloud_attr.{name}": file[name] for name in file.files}
    arrays["pcloud_attr.valid"] = np.arange(len(expected.points)) > 4
    np.savez(root / CLOUD, **arrays)
    frame = read(root)
    assert np.array_equal(frame.ground_truth, expected.ground_truth)
    assert np.isnan(frame.points[:5]).all() and np.array_equal(frame.points[5:], expected.points[5:])


def test_points_outside_the_image_have_no_label(root: Path) -> None:
    edit_cloud(col=lambda points: np.array([-70.0, np.nan, np.inf, 700.0, *[100.0] * (len(points) - 4)]))(root)
    labels = read(root).ground_truth
    assert (labels[:4] == IGNORE).all() and (labels[4:] != IGNORE).mean() > 0.5


def test_without_places_in_the_image_points_are_projected(root: Path) -> None:
    expected = read(root).ground_truth
    edit_cloud(row=lambda points: None, col=lambda points: None)(root)
    assert (read(root).ground_truth == expected).mean() > 0.998


def test_a_cloud_without_points(root: Path) -> None:
    np.savez(root / CLOUD, points=np.zeros((0, 3)))
    frame = read(root)
    assert frame.points.shape == (0, 3) and frame.ground_truth.shape == (0,)


def test_stamps_are_guessed_where_nothing_says_them(root: Path) -> None:
    (root / INFO).unlink()
    notices = Notices()
    dataset = A2D2([root], Selection(), TEN, notices)
    assert dataset[0].stamp_ns == 1_000_000_000
    assert "stamps are the frames' numbers at 30 Hz" in notices.as_dict()[f"stamps:{RECORDING}"]


def test_recordings_without_lidar_are_named(root: Path) -> None:
    (root / SET / "20181016_095036" / "camera").mkdir(parents=True)
    notices = Notices()
    assert len(A2D2([root], notices=notices)) == 1
    assert "20181016_095036 have no lidar" in notices.as_dict()["without_lidar"]


def test_random_damage_is_refused_in_one_line(whole: Path, tmp_path: Path) -> None:
    refused = 0
    for seed in range(60):
        root = shutil.copytree(whole, tmp_path / str(seed))
        what = mutate(root, random.Random(seed))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                read(root)
        except SamAdaptError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 600, (seed, what, str(error))
        except Exception as error:
            pytest.fail(f"seed {seed}, {what}: {type(error).__name__}: {error}")
    assert 15 < refused < 60
