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
