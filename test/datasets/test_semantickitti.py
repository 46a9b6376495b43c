"""SemanticKITTI: the real frames against the formula of the data set; made-up sequences for all that can go wrong."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from semantickitti_factory import IDS, write_sequence

from sam_adapt_ros.datasets import Selection, SemanticKitti, open_dataset
from sam_adapt_ros.datasets.semantickitti import START_NS
from sam_adapt_ros.errors import BagError, TaxonomyError
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.taxonomy import Taxonomy

TEN = Taxonomy.load("a2d2_semantickitti10")


@pytest.fixture(scope="module")
def real(real_data: Path) -> SemanticKitti:
    dataset = open_dataset("semantickitti", [real_data / "semantickitti"], taxonomy=TEN)
    assert isinstance(dataset, SemanticKitti)
    return dataset


def test_real_frames_are_counted(real: SemanticKitti) -> None:
    assert len(real) == 32
    assert real.ids[:5] == ["00/000000", "00/000003", "00/000006", "00/000009", "01/000000"]
    assert {recording.calibration.cameras["CAM_FRONT"].model.width for recording in real.recordings} == {
        1241, 1242, 1226
    }  # fmt: skip
    labelled = sum(int((frame.ground_truth != 255).sum()) for frame in real)
    points = sum(len(frame.points) for frame in real)
    assert points == 3_957_406
    assert points - labelled == 215_852


def test_real_frame_projects_as_kitti_says(real: SemanticKitti, real_data: Path) -> None:
    for index in (0, 13, 31):
        sequence, number = real.ids[index].split("/")
        folder = real_data / "semantickitti" / "sequences" / sequence
        lines = dict(line.split(":", 1) for line in (folder / "calib.txt").read_text().splitlines() if ":" in line)
        P, Tr = (np.array(lines[name].split(), float).reshape(3, 4) for name in ("P2", "Tr"))
        scan = np.fromfile(folder / "velodyne" / f"{number}.bin", np.float32).reshape(-1, 4)
        frame = real[index]
        (view,) = frame.views
        assert np.array_equal(frame.points, scan[:, :3])
        assert np.array_equal(view.image, cv2.imread(str(folder / "image_2" / f"{number}.png"))[:, :, ::-1])
        homogeneous = np.column_stack([scan[:, :3], np.ones(len(scan))])
        uvw = homogeneous @ Tr.T @ P[:, :3].T + P[:, 3]
        expected = uvw[:, :2] / uvw[:, 2:]
        height, width = view.image.shape[:2]
        inside = (uvw[:, 2] > 1) & (expected >= 0).all(1) & (expected < (width - 1, height - 1)).all(1)
        in_camera = frame.points[inside] @ view.T_camera_lidar[:3, :3].T + view.T_camera_lidar[:3, 3]
        uv, _, valid = view.camera.project(in_camera)
        assert 0.15 < inside.mean() < 0.25 and valid.all()
        assert np.abs(uv - expected[inside]).max() < 0.05
        raw = np.fromfile(folder / "labels" / f"{number}.label", np.uint32)
        assert np.array_equal(frame.ground_truth, TEN.lookup("semantickitti")[raw & 0xFFFF])


def test_real_poses_are_kittis(real: SemanticKitti, real_data: Path) -> None:
    """Of the rectified grey camera; here of the LiDAR, in the axes of the vehicle."""
    folder = real_data / "semantickitti" / "sequences" / "00"
    Tr = np.eye(4)
    Tr[:3] = np.array((folder / "calib.txt").read_text().split("Tr:")[1].split(), float).reshape(3, 4)
    pose = np.eye(4)
    pose[:3] = np.array((folder / "poses.txt").read_text().splitlines()[9].split(), float).reshape(3, 4)
    moved = np.linalg.inv(real[0].T_odom_lidar) @ real[3].T_odom_lidar
    assert np.abs(moved - np.linalg.inv(Tr) @ pose @ Tr).max() < 1e-4
    assert real[3].T_odom_lidar[0, 3] == pytest.approx(6.68, abs=0.05)  # ahead is x
    assert real[3].stamp_ns - real[0].stamp_ns == 933_146_700


# Made-up sequences ----------------------------------------------------------------------------------------------------


def test_a_frame(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path)
    dataset = pickle.loads(pickle.dumps(SemanticKitti([tmp_path], taxonomy=TEN)))
    assert len(dataset) == 3 and dataset.ids[-1] == "00/000002" and dataset[-1].stamp_ns == START_NS + 200_000_000
    frame = dataset[1]
    assert np.array_equal(frame.points, np.fromfile(folder / "velodyne/000001.bin", "<f4").reshape(-1, 4)[:, :3])
    names = [None, None, "car", "road", "sidewalk", "building", "nature", "car", None]
    expected = [255 if name is None else TEN.classes.index(name) for name in names]
    assert frame.ground_truth.tolist() == np.resize(expected, 30).tolist() and len(IDS) == len(names)
    assert frame.T_odom_lidar[:3, 3] == pytest.approx((1.0, 0.0, 1.73))
    with pytest.raises(IndexError):
        dataset[3]
    assert [each.stamp_ns for each in dataset[1:]] == [START_NS + 100_000_000, START_NS + 200_000_000]


def test_without_a_class_set_there_is_no_ground_truth(tmp_path: Path) -> None:
    write_sequence(tmp_path)
    assert SemanticKitti([tmp_path])[0].ground_truth is None
    with pytest.raises(TaxonomyError, match="no mapping 'semantickitti'"):
        SemanticKitti([tmp_path], taxonomy=Taxonomy.load("nuscenes6"))


def test_sequences_differ(tmp_path: Path) -> None:
    write_sequence(tmp_path, "00")
    write_sequence(tmp_path, "11", labels=False, size=(122, 40))
    dataset = SemanticKitti([tmp_path], taxonomy=TEN)
    assert [frame.views[0].image.shape for frame in dataset] == [(37, 124, 3)] * 3 + [(40, 122, 3)] * 3
    assert [frame.ground_truth is None for frame in dataset] == [False] * 3 + [True] * 3
    assert dataset[5].views[0].camera.height == 40


@pytest.mark.parametrize("below", ["dataset", ""])
def test_parts_in_several_roots(tmp_path: Path, below: str) -> None:
    """KITTI's images here, SemanticKITTI's labels there; the odometry benchmark has its poses beside the sequences."""
    folder = write_sequence(tmp_path / "labels" / below)
    images = tmp_path / "images" / below / "sequences" / "00"
    images.mkdir(parents=True)
    shutil.move(folder / "image_2", images)
    shutil.move(folder / "calib.txt", images)
    (folder.parents[1] / "poses").mkdir()
    shutil.move(folder / "poses.txt", folder.parents[1] / "poses" / "00.txt")
    for roots in ([tmp_path / "labels", tmp_path / "images"], [tmp_path / "images", tmp_path / "labels"]):
        frame = SemanticKitti(roots, taxonomy=TEN)[2]
        assert frame.ground_truth is not None and len(frame.views) == 1 and frame.T_odom_lidar[0, 3] == 2


def test_jpegs_alone_are_taken(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path)
    for path in list((folder / "image_2").iterdir()):
        cv2.imwrite(str(path.with_suffix(".jpg")), cv2.imread(str(path)))
        path.unlink()
    assert SemanticKitti([tmp_path])[0].views[0].image.shape == (37, 124, 3)


def test_splits(tmp_path: Path) -> None:
    for name in ("07", "08", "09"):
        write_sequence(tmp_path, name, frames=1)
    assert SemanticKitti([tmp_path], Selection("val")).ids == ["07/000000"]
    assert SemanticKitti([tmp_path], Selection(names=("0[79]",))).ids == ["07/000000", "09/000000"]
    with pytest.raises(BagError, match=r"8 of 9 recordings of split train are not there: 00, 01.*--allow-missing"):
        SemanticKitti([tmp_path], Selection("train"))
    notices = Notices()
    assert SemanticKitti([tmp_path], Selection("train", allow_missing=True), None, notices).ids == ["09/000000"]
    assert "8 of 9 recordings of split train are not there: 00, 01" in notices.as_dict()["split"]
    for selection, message in [
        (Selection("trian"), "split: one of train, val, test, hidden_test expected, got 'trian'"),
        (Selection("val", names=("08",)), "'08' is not in split val"),
        (Selection(names=("21",)), r"no '21' \(has 3: 07, 08, 09\)"),
        (Selection(cameras=("CAM_BACK",)), r"no camera CAM_BACK \(has CAM_FRONT, CAM_FRONT_RIGHT\)"),
    ]:
        with pytest.raises(BagError, match=message):
            SemanticKitti([tmp_path], selection)


def cut(name: str, size: int):
    def damage(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:size])

    return damage


def remove(*names: str):
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return damage


def replace(name: str, old: str, new: str):
    def damage(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("calib.txt"), r"00/calib\.txt: cannot be read"),
        (replace("calib.txt", "P2:", "P9:"), r"calib\.txt: field P2 is missing"),
        (replace("calib.txt", "Tr:", "Tx:"), r"calib\.txt: field Tr is missing"),
        (replace("calib.txt", "Tr: 0", "Tr: 7"), r"calib\.txt: field Tr: a rotation and a translation expected"),
        (replace("calib.txt", "P2: 72", "P2: 0"), r"calib\.txt: P2: .*positive focal lengths"),
        (replace("calib.txt", "4.5 0 72 17", "4.5 0 72"), r"calib\.txt: field P2: 12 numbers expected, got 11"),
        (remove("times.txt"), r"times\.txt: cannot be read"),
        (replace("times.txt", "1.000000e-01", "soon"), r"times\.txt:2: 1 finite numbers expected, got 'soon'"),
        (replace("times.txt", "1.000000e-01", "-5"), r"times\.txt:2: seconds since .* expected, got -5"),
        (cut("times.txt", 20), r"times\.txt: no line for 000002\.bin: 3 lines expected, got 2"),
        (replace("poses.txt", "0 0 1 1", "0 0 7 1"), r"poses\.txt:2: field pose: a rotation and a translation"),
        (replace("poses.txt", "0 1 1", "0 1 nan"), r"poses\.txt:2: 12 finite numbers expected"),
        (remove("image_2/000001.png"), r"image_2: 1 of 3 files are missing, .* 000001\.png"),
        (remove("labels/000001.label"), r"labels: 1 of 3 files are missing, .* 000001\.label"),
        (cut("image_2/000000.png", 0), r"image_2/000000\.png: is empty"),
        (lambda folder: shutil.rmtree(folder / "velodyne"), r"velodyne: no files: .* \(000000\.bin\) expected"),
    ],
)  # fmt: skip
def test_what_is_missing_or_malformed_is_named_when_opened(tmp_path: Path, damage, message: str) -> None:
    damage(write_sequence(tmp_path))
    with pytest.raises(BagError, match=message):
        SemanticKitti([tmp_path], taxonomy=TEN)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut("velodyne/000001.bin", 30), r"velodyne/000001\.bin: rows of 4 float32 expected, got 30 bytes"),
        (cut("velodyne/000001.bin", 0), r"velodyne/000001\.bin: is empty"),
        (cut("velodyne/000001.bin", 160), r"labels/000001\.label: 10 labels expected, got 30"),
        (cut("labels/000001.label", 40), r"labels/000001\.label: 30 labels expected, got 10"),
        (cut("labels/000001.label", 41), r"labels/000001\.label: labels of 4 bytes expected, got 41 bytes"),
        (cut("image_2/000001.png", 900), r"image_2/000001\.png: .*without its end"),
        (remove("image_2/000001.png"), r"image_2/000001\.png: cannot be read: No such file"),
        (remove("velodyne/000001.bin"), r"velodyne/000001\.bin: cannot be read: No such file"),
        (
            lambda folder: (folder / "labels/000001.label").write_bytes(np.full(30, 77, "<u4").tobytes()),
            r"labels/000001\.label: class ids 77 are not in the mapping semantickitti of taxonomy a2d2_semantickitti10",
        ),
        (
            lambda folder: cv2.imwrite(str(folder / "image_2/000001.png"), np.zeros((37, 100, 3), np.uint8)),
            r"image_2/000001\.png: 100 x 37, but the calibration is of 124 x 37",
        ),
    ],
)
def test_a_damaged_file_is_named_when_its_frame_is_read(tmp_path: Path, damage, message: str) -> None:
    folder = write_sequence(tmp_path)
    dataset = SemanticKitti([tmp_path], taxonomy=TEN)
    damage(folder)
    assert len(dataset[0].points) == len(dataset[2].points) == 30
    with pytest.raises((BagError, TaxonomyError), match=message):
        dataset[1]


def test_frames_that_are_not_whole_are_left_out_where_allowed(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path)
    remove("image_2/000000.png", "labels/000002.label", "poses.txt")(folder)
    notices = Notices()
    dataset = SemanticKitti([tmp_path], Selection(allow_missing=True), TEN, notices)
    assert dataset.ids == ["00/000001"] and dataset[0].T_odom_lidar is None
    assert set(notices.as_dict()) == {"missing:00_image_2", "missing:00_labels", "no_poses:00"}
    remove("image_2/000001.png")(folder)
    with pytest.raises(BagError, match="00: no scan has its image and its labels"):
        SemanticKitti([tmp_path], Selection(allow_missing=True), TEN)
    shutil.rmtree(folder / "image_2")
    dataset = SemanticKitti([tmp_path], Selection(allow_missing=True), TEN, notices)
    assert not dataset[0].views and "no frame has an image" in notices.as_dict()["no_images:00"]
    with pytest.raises(BagError, match="no such folder"):
        SemanticKitti([tmp_path / "nowhere"])
    with pytest.raises(BagError, match=r"velodyne: no sequences: .*sequences/00"):
        SemanticKitti([folder / "velodyne"])
