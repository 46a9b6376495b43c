"""nuScenes as a sequence of frames: the real keyframe against its bag; splits, roots, labels, what is not on disk."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from bag_factory import START, expected_T_camera_lidar, write_nuscenes

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.datasets import NuScenes, Selection, convert, open_dataset
from sam_adapt_ros.datasets.nuscenes_splits import SPLITS, TRAIN, VAL, VAL_NIGHT, VAL_SINGAPORE, Scene, Split
from sam_adapt_ros.errors import BagError, TaxonomyError
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.taxonomy import Taxonomy

SIX = Taxonomy.load("nuscenes6")


def test_the_real_keyframe_is_the_frame_of_its_bag(real_data: Path, tmp_path: Path) -> None:
    dataset = open_dataset("nuscenes", [real_data / "nuscenes_keyframe"], taxonomy=SIX)
    assert len(dataset) == 1 and dataset.ids[0].startswith("scene-")
    (bag,) = convert(dataset, tmp_path / "bag")
    config = Config.load("nuscenes", {"taxonomy": "nuscenes6"})
    with BagReader(bag, config) as reader:
        (expected,) = reader.frames()
    frame = pickle.loads(pickle.dumps(dataset))[0]
    assert frame.stamp_ns == expected.stamp_ns and frame.frame_id == expected.frame_id
    assert np.array_equal(frame.points, expected.points) and frame.points.shape == (34688, 3)
    assert np.array_equal(frame.intensity, expected.intensity) and frame.intensity.max() > 1
    assert np.array_equal(frame.ground_truth, expected.ground_truth) and (frame.ground_truth != 255).sum() > 500
    assert np.abs(frame.T_odom_lidar - expected.T_odom_lidar).max() < 1e-9
    assert np.abs(frame.T_base_lidar - expected.T_base_lidar).max() < 1e-9
    views = {view.name: view for view in frame.views}
    assert len(views) == 6
    for view in expected.views:
        mine = views[view.name]
        assert mine.stamp_ns == view.stamp_ns and mine.frame_id == view.frame_id
        assert np.array_equal(mine.image, view.image) and np.array_equal(mine.camera.K, view.camera.K)
        assert np.abs(mine.T_camera_lidar - view.T_camera_lidar).max() < 1e-6


def test_only_the_chosen_cameras_are_read(real_data: Path) -> None:
    selection = Selection(cameras=("CAM_BACK", "CAM_FRONT"))
    dataset = NuScenes([real_data / "nuscenes_keyframe"], selection)
    assert [view.name for view in dataset[0].views] == ["CAM_BACK", "CAM_FRONT"]
    assert {file.sensor for file in dataset.recordings[0].files} == {"CAM_BACK", "CAM_FRONT", "LIDAR_TOP"}
    with pytest.raises(BagError, match=r"sensor\.json: no camera CAM_TOP \(has CAM_BACK, CAM_BACK_LEFT, "):
        NuScenes([real_data / "nuscenes_keyframe"], Selection(cameras=("CAM_TOP",)))


# A made-up data set ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of three keyframes."""
    root = tmp_path_factory.mktemp("nuscenes") / "data"
    write_nuscenes(root)
    return root


@pytest.fixture
def root(toy: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    shutil.copytree(toy, tmp_path / "data")
    return tmp_path / "data"


def edit(root: Path, name: str, change) -> None:
    path = root / "v1.0-mini" / f"{name}.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def name_scenes(root: Path, *scenes: tuple[str, str, str]) -> None:
    """Gives the scenes a name, a place and a description."""

    def change(rows: list[dict]) -> None:
        for row, (name, place, description) in zip(rows, scenes, strict=True):
            row.update(name=name, description=description, log_token=f"log-{place}")

    edit(root, "scene", change)
    logs = [{"token": f"log-{place}", "location": place} for _, place, _ in scenes]
    (root / "v1.0-mini" / "log.json").write_text(json.dumps(logs))


def test_keyframes_are_the_frames_whatever_lies_between(toy: Path) -> None:
    for sweeps in (False, True):
        dataset = NuScenes([toy], taxonomy=SIX, sweeps=sweeps)
        assert dataset.ids == [f"scene-000{scene}/scene{scene}-{step}" for scene in (0, 1) for step in range(3)]
        frame = dataset[1]
        assert frame.stamp_ns == START + 300_000_000 and frame.ground_truth is not None
        for view in frame.views:
            expected = expected_T_camera_lidar(view.name, view.stamp_ns, frame.stamp_ns)
            assert np.abs(view.T_camera_lidar - expected).max() < 1e-6
    assert len(dataset.recordings[0].sweeps) == 9


def test_splits_have_the_published_scenes() -> None:
    """Their numbers, and a scene of each kind."""
    assert (len(TRAIN), len(VAL), len(VAL_SINGAPORE), len(VAL_NIGHT)) == (700, 150, 69, 15)
    assert not TRAIN & VAL and VAL_SINGAPORE | VAL_NIGHT < TRAIN
    places = {"scene-0001": {"singapore", "day"}, "scene-0004": {"singapore", "day"}, "scene-0161": {"usa", "day"}}
    places |= {"scene-0992": {"singapore", "night"}, "scene-1046": {"singapore", "night"}}
    places |= {"scene-0003": {"singapore", "day"}, "scene-1059": {"singapore", "night"}, "scene-0092": {"usa", "day"}}
    scenes = {name: Scene(name, name, frozenset(domains)) for name, domains in places.items()}
    found = {split: sorted(SPLITS[split].members(scenes) & places.keys()) for split in SPLITS}
    assert found == {
        "train": ["scene-0001", "scene-0004", "scene-0161", "scene-0992", "scene-1046"],
        "val": ["scene-0003", "scene-0092", "scene-1059"],
        "mini_train": [],
        "mini_val": [],
        "usa_train": ["scene-0161"],
        "usa_test": ["scene-0092"],
        "singapore_train": ["scene-0001", "scene-0992", "scene-1046"],
        "singapore_val": ["scene-0004"],
        "singapore_test": ["scene-0003", "scene-1059"],
        "day_train": ["scene-0001", "scene-0004", "scene-0161"],
        "day_test": ["scene-0003", "scene-0092"],
        "night_train": ["scene-0992"],
        "night_val": ["scene-1046"],
        "night_test": ["scene-1059"],
    }


def test_scenes_of_a_split_that_are_not_in_the_tables(root: Path) -> None:
    name_scenes(root, ("scene-0161", "boston-seaport", "Sunny"), ("scene-0992", "singapore-queenstown", "Night, rain"))
    with pytest.raises(BagError, match=r"scene\.json: 698 of 699 recordings of split usa_train are not there"):
        NuScenes([root], Selection("usa_train"))
    for split, name in (("usa_train", "scene-0161"), ("day_train", "scene-0161"), ("night_train", "scene-0992")):
        notices = Notices()
        dataset = NuScenes([root], Selection(split, allow_missing=True), None, notices)
        assert {each.split("/")[0] for each in dataset.ids} == {name}
        assert f"recordings of split {split} are not there" in notices.as_dict()["split"]
    with pytest.raises(BagError, match="no recording of split singapore_test"):
        NuScenes([root], Selection("singapore_test", allow_missing=True))
    with pytest.raises(BagError, match=r"split: one of train, val, .* expected, got 'usa'"):
        NuScenes([root], Selection("usa"))


def test_scenes_of_a_split_whose_files_are_not_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name_scenes(root, ("scene-0161", "boston-seaport", "Sunny"), ("scene-0162", "boston-seaport", "Sunny"))
    monkeypatch.setitem(SPLITS, "usa_train", Split(frozenset({"scene-0161", "scene-0162"}), "usa"))
    assert len(NuScenes([root], Selection("usa_train"))) == 6
    for path in (root / "samples" / "CAM_BACK").glob("CAM_BACK-16000001*"):
        path.unlink()
    with pytest.raises(BagError, match=r"1 of 2 scenes of split usa_train are not whole: scene-0162 .*--allow-missing"):
        NuScenes([root], Selection("usa_train"))
    notices = Notices()
    dataset = NuScenes([root], Selection("usa_train", allow_missing=True), None, notices)
    assert len(dataset) == 3 and dataset.left_out == ("scene-0162",)
    assert "1 of 2 scenes are left out: scene-0162" in notices.as_dict()["scenes"]


def test_archives_unpacked_side_by_side(root: Path, tmp_path: Path) -> None:
    """Files in several roots, the tables of the labels in one of their own."""
    whole = NuScenes([root], taxonomy=SIX)
    truth = whole[4].ground_truth
    blob, labels = tmp_path / "v1.0-trainval01_blobs", tmp_path / "lidarseg"
    (blob / "samples" / "CAM_BACK").mkdir(parents=True)
    for path in (root / "samples" / "CAM_BACK").glob("CAM_BACK-16000001*"):
        shutil.move(path, blob / "samples" / "CAM_BACK")
    (labels / "v1.0-mini").mkdir(parents=True)
    for name in ("lidarseg.json", "category.json"):
        shutil.move(root / "v1.0-mini" / name, labels / "v1.0-mini")
    shutil.move(root / "lidarseg", labels)
    for roots in ([root, blob, labels], [labels, blob, root / "v1.0-mini"]):
        dataset = NuScenes(roots, taxonomy=SIX)
        assert dataset.ids == whole.ids
        assert np.array_equal(dataset[4].ground_truth, truth)
        assert dataset[4].views[0].name == "CAM_BACK"
    shutil.move(blob, root)
    assert NuScenes([root, labels], taxonomy=SIX).ids == whole.ids


def test_panoptic_labels_stand_in_for_lidarsegs(root: Path) -> None:
    expected = [frame.ground_truth for frame in NuScenes([root], taxonomy=SIX)]
    edit(root, "lidarseg", lambda rows: [row.update(filename=to_panoptic(root, row["filename"])) for row in rows])
    (root / "v1.0-mini" / "lidarseg.json").rename(root / "v1.0-mini" / "panoptic.json")
    dataset = NuScenes([root], taxonomy=SIX)
    assert all(np.array_equal(a.ground_truth, b) for a, b in zip(dataset, expected, strict=True))
    path = next((root / "panoptic").iterdir())
    for content, message in [
        ({"data": np.zeros(3, np.uint16)}, r"_panoptic\.npz: 40 labels expected, got 3"),
        ({"labels": np.zeros(40, np.uint16)}, r"_panoptic\.npz: panoptic labels, .* an array data, expected"),
        ({"data": np.zeros(40)}, r"_panoptic\.npz: data: one whole number a point, .* got \(40,\) float64"),
        ({"data": np.full(40, 300_000)}, r"_panoptic\.npz: data: one whole number a point"),
        ({"data": np.full(40, -5)}, r"_panoptic\.npz: data: one whole number a point"),
        ({"data": np.array([{}] * 40)}, r"_panoptic\.npz: panoptic labels, .* expected"),
    ]:
        np.savez(path, **content)
        with pytest.raises(BagError, match=message):
            list(dataset)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(BagError, match=r"_panoptic\.npz: panoptic labels, .* expected"):
        list(dataset)


def to_panoptic(root: Path, name: str) -> str:
    raw = np.fromfile(root / name, np.uint8).astype(np.uint16)
    panoptic = root / "panoptic" / Path(name).name.replace("_lidarseg.bin", "_panoptic.npz")
    panoptic.parent.mkdir(exist_ok=True)
    np.savez_compressed(panoptic, data=raw * 1000 + np.arange(len(raw), dtype=np.uint16) % 7 * (raw > 0))
    return str(panoptic.relative_to(root))


def test_versions_side_by_side(root: Path) -> None:
    name_scenes(root, ("scene-0103", "boston", "Day"), ("scene-0916", "singapore", "Day"))
    shutil.copytree(root / "v1.0-mini", root / "v1.0-trainval")
    for version in ("v1.0-mini", "v1.0-trainval"):
        assert len(NuScenes([root], version=version)) == 6
        assert len(NuScenes([root / version])) == 6
    with pytest.raises(BagError, match=r"several versions \(v1\.0-mini, v1\.0-trainval\); name one"):
        NuScenes([root])
    edit(root, "scene", lambda rows: rows.clear())  # the mini tables': they are what a mini split is looked for in
    assert len(NuScenes([root], Selection("val", allow_missing=True))) == 6
    with pytest.raises(BagError, match=r"v1\.0-mini/scene\.json: scenes of different names expected, got 0"):
        NuScenes([root], Selection("mini_val"))


@pytest.mark.parametrize(
    ("folder", "content", "message"),
    [
        ("samples/CAM_FRONT", b"", r"CAM_FRONT-.*\.jpg: is empty"),
        ("samples/CAM_FRONT", b"GIF89a", r"CAM_FRONT-.*\.jpg: .*JPEG or PNG expected"),
        ("samples/CAM_FRONT", None, r"CAM_FRONT-.*\.jpg: .*without its end"),
        ("samples/LIDAR_TOP", b"123", r"LIDAR_TOP-.*\.bin: rows of 5 float32 expected, got 3 bytes"),
        ("lidarseg/v1.0-mini", b"\0" * 3, r"_lidarseg\.bin: 40 labels expected, got 3"),
        ("lidarseg/v1.0-mini", b"", r"_lidarseg\.bin: is empty"),
    ],
)
def test_a_damaged_file_is_named(root: Path, folder: str, content: bytes | None, message: str) -> None:
    dataset = NuScenes([root], taxonomy=SIX)
    path = sorted((root / folder).iterdir())[-1]
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    assert len(dataset[0].points) == 40
    with pytest.raises(BagError, match=message):
        dataset[5]
    path.unlink()
    with pytest.raises(BagError, match=rf"{path.name}: cannot be read: No such file"):
        dataset[5]


def test_an_image_of_another_size_is_named(root: Path) -> None:
    edit(root, "sample_data", lambda rows: [row.update(width=80) for row in rows if "CAM" in row["token"]])
    with pytest.raises(BagError, match=r"\.jpg: 64 x 48, but the calibration is of 80 x 48"):
        NuScenes([root])[0]


def test_an_unknown_class_is_named(root: Path) -> None:
    (root / "v1.0-mini" / "category.json").write_text(json.dumps([{"token": "a", "name": "alien", "index": 77}]))
    for path in (root / "lidarseg" / "v1.0-mini").iterdir():
        path.write_bytes(bytes([77] * 40))
    with pytest.raises(TaxonomyError, match=r"_lidarseg\.bin: class ids 77 are not in the mapping nuscenes_lidarseg"):
        NuScenes([root], taxonomy=SIX)[0]
    with pytest.raises(TaxonomyError, match="no mapping 'nuscenes_lidarseg'"):
        NuScenes([root], taxonomy=Taxonomy.load("vkitti_semantickitti6"))
