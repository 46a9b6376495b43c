"""Virtual KITTI's reader on what can be wrong with its files; ``test/pipelines/layouts`` has what a frame is."""

from __future__ import annotations

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

from sam_adapt_ros.datasets import Selection, VirtualKitti
from sam_adapt_ros.datasets.virtual_kitti import CATEGORIES, INTRINSICS
from sam_adapt_ros.errors import BagError, SamAdaptError, TaxonomyError
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.pipelines.layouts import virtual_kitti
from sam_adapt_ros.taxonomy import Taxonomy

SIX = Taxonomy.load("vkitti_semantickitti6")
IMAGE, LABEL, DEPTH = (f"vkitti_1.3.1_{kind}/0002/clone/00000.png" for kind in ("rgb", "scenegt", "depthgt"))
POINTS, POSES = "vkitti3d_npy/0002/00000.npy", "vkitti_1.3.1_extrinsicsgt/0002_clone.txt"
COLORS = "vkitti_1.3.1_scenegt/0002_clone_scenegt_rgb_encoding.txt"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scene in one weather."""
    folder = tmp_path_factory.mktemp("vkitti")
    virtual_kitti.write(folder, frames=1, seed=0, scenes=("0002",), weathers=("clone",))
    return folder


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "vkitti")


def read(root: Path) -> Any:
    return VirtualKitti([root], taxonomy=SIX)[0]


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def cut(name: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:-40])


def points(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda root: np.save(root / POINTS, change(np.load(root / POINTS)), allow_pickle=True)


def label(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rows: np.column_stack([rows[:, :6], np.full(len(rows), value)])


def picture(name: str, dtype: type = np.uint8, shape: tuple[int, ...] = (125, 414, 3)) -> Callable[[Path], object]:
    return lambda root: cv2.imwrite(str(root / name), np.full(shape, 7, dtype))


def line(name: str, text: str) -> Callable[[Path], object]:
    """Puts a line after the header."""

    def edit(root: Path) -> None:
        header, *lines = (root / name).read_text().splitlines()
        (root / name).write_text("\n".join([header, text, *lines]))

    return edit


def depth(damage: Callable[[Path], object]) -> Callable[[Path], None]:
    """Without point files, so that points are made of depth."""

    def edit(root: Path) -> None:
        shutil.rmtree(root / "vkitti3d_npy")
        damage(root)

    return edit


BAD: list[tuple[Callable[[Path], object], str]] = [
    (remove(IMAGE), r"vkitti_1.3.1_rgb/0002/clone: no files: files named by their number \(00000.png\) expected"),
    (cut(IMAGE), r"rgb/0002/clone/00000.png: .*PNG of \d+ bytes without its end"),
    (picture(IMAGE, shape=(125, 300, 3)), "00000.png: 1242 x 375 or of that shape expected, got 300 x 125"),
    (remove(POINTS), r"vkitti3d_npy/0002: no files: .*00000.npy\) expected"),
    (cut(POINTS), r"00000.npy: cannot be read \(ValueError"),
    (lambda root: (root / POINTS).write_bytes(b""), "00000.npy: is empty"),
    (lambda root: (root / POINTS).write_bytes(b"PK\3\4"), "00000.npy: cannot be read"),
    (points(lambda rows: rows[:, :6]), "00000.npy: rows of x y z r g b label: N x 7 numbers expected"),
    (points(lambda rows: rows.ravel()), "00000.npy: rows of x y z r g b label: N x 7 numbers expected"),
    (points(lambda rows: rows.astype(object)), r"00000.npy: cannot be read \(ValueError: Object arrays"),
    (points(label(3.5)), "00000.npy: labels from 0 to 13 expected, got 3.5"),
    (points(label(np.nan)), "00000.npy: labels from 0 to 13 expected, got nan"),
    (line(POSES, "7 1 0 0"), r"0002_clone.txt:2: a frame number and 16 numbers expected, got '7 1 0 0'"),
    (line(POSES, "7" + " 0" * 16), "0002_clone.txt:2: a pose world -> camera expected"),
    (line(POSES, "nan 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"), "0002_clone.txt:2: a frame number and 16 numbers expected"),
    (depth(remove(DEPTH)), r"depthgt/0002/clone: no files"),
    (depth(remove(LABEL)), r"scenegt/0002/clone: no files"),
    (depth(cut(DEPTH)), r"depthgt/0002/clone/00000.png: .*PNG of \d+ bytes without its end"),
    (depth(picture(DEPTH, shape=(125, 414))), "depthgt/0002/clone/00000.png: one uint16 a pixel expected, got uint8"),
    (depth(picture(DEPTH, np.uint16, (60, 200))), "00000.png: 200 x 60, but the calibration is of 414 x 125"),
    (
        depth(picture(LABEL)),
        r"colours of 0002_clone_scenegt_rgb_encoding.txt expected, got #070707 at \d+ of",
    ),
    (depth(remove(COLORS)), "0002_clone_scenegt_rgb_encoding.txt: cannot be read: No such file"),
    (depth(line(COLORS, "Bus:1 9 9 9")), "encoding.txt:2: a category of Virtual KITTI and r g b expected, got 'Bus:1"),
    (depth(line(COLORS, "Car:1 9 9")), "encoding.txt:2: a category of Virtual KITTI and r g b expected, got 'Car:1"),
    (depth(line(COLORS, "Car:1 9 9 256")), "encoding.txt:2: a category of Virtual KITTI and r g b expected"),
    (
        depth(lambda root: (root / COLORS).write_text("Category(:id) r g b\n")),
        "lines such as 'Road 100 60 100'",
    ),
]


@pytest.mark.parametrize(("damage", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_input_is_named(root: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(root)
    with pytest.raises(BagError, match=message):
        read(root)


def test_unknown_labels_are_named(root: Path) -> None:
    points(label(50))(root)
    with pytest.raises(TaxonomyError, match=r"00000.npy: class ids 50 are not in the mapping vkitti"):
        read(root)


def test_what_is_not_there_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for roots, selection, message in [
        ([tmp_path / "none"], Selection(), "none: no such folder"),
        ([tmp_path / "empty"], Selection(), "no images: Virtual KITTI's folders vkitti_1.3.1_rgb/0001/clone"),
        ([root], Selection("train"), "29 of 30 recordings of split train are not there: 0001_clone, 0001_fog"),
        ([root], Selection("test"), "split: one of train, mini expected, got 'test'"),
        ([root], Selection(cameras=("CAM_BACK",)), r"no camera CAM_BACK \(has CAM_FRONT\)"),
    ]:
        with pytest.raises(BagError, match=message):
            VirtualKitti(roots, selection)
    notices = Notices()
    assert VirtualKitti([root], Selection("train", allow_missing=True), None, notices).ids == ["0002_clone/00000"]
    assert "29 of 30 recordings" in notices.as_dict()["split"]


def test_frames_without_points_are_left_out_where_allowed(root: Path) -> None:
    shutil.copy(root / IMAGE, root / IMAGE.replace("00000", "00012"))
    with pytest.raises(BagError, match=r"vkitti3d_npy/0002: 1 of 2 files are missing.*00012.npy.*--allow-missing"):
        read(root)
    notices = Notices()
    dataset = VirtualKitti([root], Selection(allow_missing=True), SIX, notices)
    assert dataset.ids == ["0002_clone/00000"]
    assert "1 of 2 files are missing" in notices.as_dict()["missing:vkitti3d_npy_0002"]


def test_parts_in_several_roots(root: Path, tmp_path: Path) -> None:
    expected = read(root)
    shutil.move(root / "vkitti3d_npy", tmp_path / "points" / "vkitti_npy")
    for roots in ([root, tmp_path / "points"], [tmp_path / "points", root]):
        frame = VirtualKitti(roots, taxonomy=SIX)[0]
        assert np.array_equal(frame.points, expected.points)


def test_poses_may_be_missing(root: Path) -> None:
    (root / POSES).unlink()
    notices = Notices()
    assert VirtualKitti([root], notices=notices)[0].T_odom_lidar is None
    assert "0002_clone.txt: is missing" in notices.as_dict()["no_poses:0002_clone"]


def test_a_pose_may_be_missing(root: Path) -> None:
    for name in (IMAGE, POINTS):
        shutil.copy(root / name, root / name.replace("00000", "00012"))
    notices = Notices()
    first, second = VirtualKitti([root], notices=notices)
    assert first.T_odom_lidar is not None and second.T_odom_lidar is None
    assert "1 of 2 frames, such as 12, are missing" in notices.as_dict()["no_poses:0002_clone"]


def test_intrinsics_follow_the_images(root: Path) -> None:
    """They are those of the published images; smaller ones are said."""
    notices = Notices()
    camera = VirtualKitti([root], notices=notices)[0].views[0].camera
    assert np.abs(camera.K - [[725 / 3, 0, 206.5], [0, 725 / 3, 62], [0, 0, 1]]).max() < 1e-9
    assert "1242 x 375 expected, got 414 x 125" in notices.as_dict()["scaled"]
    picture(IMAGE, shape=(375, 1242, 3))(root)
    notices = Notices()
    assert VirtualKitti([root], notices=notices)[0].views[0].camera is INTRINSICS and not notices.as_dict()


def test_every_vehicle_has_a_color_of_its_own(root: Path) -> None:
    lines = (root / COLORS).read_text().splitlines()[1:]
    cars = [each.split() for each in lines if each.startswith("Car:")]
    assert len(cars) > 3 and len({tuple(each[1:]) for each in cars}) == len(cars)
    assert {each.split()[0].split(":")[0] for each in lines} <= {*CATEGORIES, "Sky"}


def test_random_damage_is_refused_in_one_line(whole: Path, tmp_path: Path) -> None:
    refused = 0
    for seed in range(60):
        root = shutil.copytree(whole, tmp_path / str(seed))
        if seed % 2:
            shutil.rmtree(root / "vkitti3d_npy")
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
