"""What ``sam-adapt info`` is told about a bag."""

from __future__ import annotations

from pathlib import Path

import pytest
from bag_factory import Drive, config

from sam_adapt_ros.bags import BagReader, BagWriter, bag_info
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError


def write(path: Path, **parts: bool) -> None:
    with BagWriter(path, parts.pop("storage", "mcap"), parts.pop("version", 9)) as writer:  # type: ignore[arg-type]
        Drive(sweeps=11).write(writer, **parts)


@pytest.mark.parametrize(("storage", "version"), [("mcap", 9), ("sqlite3", 8)])
def test_complete_bag(tmp_path: Path, storage: str, version: int) -> None:
    write(tmp_path / "bag", storage=storage, version=version)  # type: ignore[arg-type]
    info = bag_info(tmp_path / "bag", config())
    assert info.kind == f"rosbag2 {storage}, version {version}"
    assert info.usable and info.missing == [] and info.frames == 11
    assert info.duration == pytest.approx(1.03)
    rates = {topic.name: info.rate(topic) for topic in info.topics}
    assert rates["/LIDAR_TOP"] == pytest.approx(10, rel=0.05) and rates["/tf"] == pytest.approx(31, rel=0.05)
    assert sum(topic.count for topic in info.topics) == info.messages
    assert {part for part, _, _ in info.found} == {
        "lidar", "cameras.CAM_FRONT.image", "cameras.CAM_FRONT.info", "cameras.CAM_BACK.image",
        "cameras.CAM_BACK.info", "transforms", "transforms.odometry_topic", "ground_truth",
    }  # fmt: skip
    assert info.size == sum(file.stat().st_size for file in (tmp_path / "bag").iterdir())


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    write(tmp_path / "bag", tf=False, info=False, odometry=False)
    info = bag_info(tmp_path / "bag", config(cameras__CAM_FRONT__image="/front"))
    assert info.usable
    text = "\n".join(info.missing)
    assert "cameras.CAM_FRONT.image: no topic /front (of this type: /CAM_BACK/image_rect_compressed" in text
    assert "cameras.CAM_BACK.info: no topic /CAM_BACK/camera_info (and none of this type)" in text
    assert "transforms.odometry_topic: no topic /odom" in text
    assert "CAM_BACK: left out, camera_info" in text


def test_what_is_missing_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "bag")
    info = bag_info(tmp_path / "bag", config(cameras__CAM_FRONT__image="/front"))
    assert len(info.missing) == 1
    assert caplog.records == []
    with BagReader(tmp_path / "bag", config(cameras__CAM_FRONT__image="/front")) as reader:
        assert len(list(reader.frames())) == info.frames
    assert [record.message for record in caplog.records] == [f"{tmp_path / 'bag'}: {info.missing[0]}"]


def test_unusable_bag_is_described_all_the_same(tmp_path: Path) -> None:
    write(tmp_path / "bag")
    info = bag_info(tmp_path / "bag", config(lidar__topic="/points"))
    assert not info.usable and info.frames == 0 and "lidar: no topic /points" in info.missing[0]


def test_a_bag_of_other_cameras_is_refused_and_one_without_any_is_not(tmp_path: Path) -> None:
    write(tmp_path / "bag")
    other = config(cameras__CAM_FRONT__image="/front", cameras__CAM_BACK__image="/back")
    assert not bag_info(tmp_path / "bag", other).usable
    expected = "cameras: none of /front, /back, but /CAM_BACK/image_rect_compressed"
    with BagReader(tmp_path / "bag", other) as reader, pytest.raises(BagError, match=expected):
        next(reader.frames())
    write(tmp_path / "blind", images=False)
    assert bag_info(tmp_path / "blind", other).usable


def test_file_of_a_bag_and_what_is_none(tmp_path: Path) -> None:
    write(tmp_path / "bag")
    info = bag_info(tmp_path / "bag" / "bag.mcap", config())
    assert info.kind == "rosbag2 mcap file" and info.frames == 11
    (tmp_path / "empty").mkdir()
    with pytest.raises(BagError, match=r"metadata\.yaml is missing"):
        bag_info(tmp_path / "empty", config())


def test_a_camera_of_another_clock_is_told_with_what_to_set(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same in ``info``, once, and at the end of reading; what is said to be set mends it."""
    with BagWriter(tmp_path / "bag") as writer:
        Drive(sweeps=11, camera_clock_ns={"CAM_BACK": 37_000_000_000}).write(writer)
    (notice,) = bag_info(tmp_path / "bag", config()).notices
    assert notice.startswith("camera CAM_BACK: none of 11 sweeps ") and "TAI" in notice
    assert "cameras.CAM_BACK.time_offset to 37.0" in notice
    assert caplog.records == []
    with BagReader(tmp_path / "bag", config()) as reader:
        assert [len(frame.views) for frame in reader.frames()] == [1] * 11
        assert list(reader.notices) == [notice]
    assert len(caplog.records) == 1 and "camera CAM_BACK: none of " in caplog.records[0].message
    with BagReader(tmp_path / "bag", config(cameras__CAM_BACK__time_offset=37.0)) as reader:
        assert [len(frame.views) for frame in reader.frames()] == [2] * 11 and not list(reader.notices)


def test_a_real_camera_just_outside_the_tolerance_is_told(real_data: Path) -> None:
    """PandaSet's left camera is 60.6 ms from the sweep where 60 are tolerated: no image of it is used."""
    names = {"front", "front_left", "front_right"}
    flat = {f"cameras.{name}.image": f"/camera/{name}/image_raw/compressed" for name in names}
    flat |= {f"cameras.{name}.info": f"/camera/{name}/camera_info" for name in names}
    pandaset = Config.from_flat({"taxonomy": "", "lidar.topic": "/pandar64/points", **flat})
    (notice,) = bag_info(real_data / "pandaset_002", pandaset).notices
    assert notice.startswith("camera front_left: none of 12 sweeps ")
    assert "60.7 ms (median) behind them" in notice and "raise it to 0.07" in notice
    mended = pandaset.updated({"sync.camera_tolerance": 0.07})
    assert bag_info(real_data / "pandaset_002", mended).notices == []


def test_motion_that_is_not_known_is_told_once(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "still") as writer:
        Drive().write(writer, odometry=False, moving=False)
    info = bag_info(tmp_path / "still", config())
    (notice,) = info.notices
    assert notice.startswith("the vehicle's motion between 5 of 5 sweeps and their images is not known")
    assert info.missing == ["transforms.odometry_topic: no topic /odom (and none of this type)"]
