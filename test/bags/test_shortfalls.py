"""What the frames of a bag go without is said, once, with the reason and what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bag_factory import Drive, config

from sam_adapt_ros.bags import BagReader, BagWriter, MessageReader, bag_info
from sam_adapt_ros.config import Config


class Partial(Drive):
    """A drive whose CAM_BACK lacks an image, and whose fourth sweep comes with the stamp of the third."""

    def write(self, writer: BagWriter, **parts: bool) -> None:
        super().write(writer, **parts)
        self.write_sweep(writer, 3, self.sweep_ns(2))


def write(path: Path, drive: Drive, **parts: bool) -> None:
    with BagWriter(path) as writer:
        drive.write(writer, **parts)


def notices_of(path: Path, settings: Config) -> dict[str, str]:
    with BagReader(path, settings) as reader:
        list(reader.frames())
        return reader.notices.as_dict()


def test_a_whole_bag_goes_without_nothing(tmp_path: Path) -> None:
    write(tmp_path / "bag", Drive())
    assert notices_of(tmp_path / "bag", config()) == {}


def test_a_camera_whose_transform_is_not_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "bag", Drive())
    settings = config(cameras__CAM_BACK__frame_id="elsewhere")
    notice = notices_of(tmp_path / "bag", settings)["camera_unused:CAM_BACK"]
    assert notice.startswith("camera CAM_BACK: 5 of 5 sweeps go without it: transform_missing 5 (")
    assert "elsewhere" in notice and "set cameras.CAM_BACK.frame_id" in notice
    assert [record.message for record in caplog.records] == [notice]
    info = bag_info(tmp_path / "bag", settings)
    assert len(info.missing) == 1 and info.notices == []


def test_single_images_that_are_missing(tmp_path: Path) -> None:
    write(tmp_path / "whole", Drive())
    with MessageReader(tmp_path / "whole") as reader, BagWriter(tmp_path / "bag") as writer:
        messages = list(reader.messages())
        lost = [message for message in messages if message.topic == "/CAM_BACK/image_rect_compressed"][2]
        for message in messages:
            if message is not lost:
                writer.write(message.topic, message.data, message.log_time_ns, msgtype=message.msgtype)
    (notice,) = notices_of(tmp_path / "bag", config()).values()
    assert notice.startswith("camera CAM_BACK: 1 of 5 sweeps go without it: image_missing 1 (no image within ")
    assert bag_info(tmp_path / "bag", config()).notices == [notice]


def test_a_camera_of_another_clock_is_told_once(tmp_path: Path) -> None:
    write(tmp_path / "bag", Drive(camera_clock_ns={"CAM_BACK": 37_000_000_000}))
    assert list(notices_of(tmp_path / "bag", config())) == ["camera_sync:CAM_BACK"]


def test_sweeps_that_are_dropped(tmp_path: Path) -> None:
    write(tmp_path / "bag", Partial())
    notice = notices_of(tmp_path / "bag", config())["sweeps_dropped"]
    assert notice == "/LIDAR_TOP: 1 of 6 sweeps are dropped: out_of_order 1 (their stamps do not rise)"


def test_topics_that_are_missing_are_kept_for_the_summary(tmp_path: Path) -> None:
    write(tmp_path / "bag", Drive())
    (notice,) = notices_of(tmp_path / "bag", config(cameras__CAM_FRONT__image="/front")).values()
    assert "cameras.CAM_FRONT.image: no topic /front" in notice


class OtherFrames(Drive):
    """A drive whose sweeps have no point that is a measurement."""

    def cloud(self, index: int) -> np.ndarray:
        return np.full_like(super().cloud(index), np.nan)


def test_sweeps_without_a_measurement(tmp_path: Path) -> None:
    write(tmp_path / "bag", OtherFrames())
    notice = notices_of(tmp_path / "bag", config())["no_measurement"]
    assert notice.startswith("point cloud: none of the 50 points of a sweep is a measurement")


def test_images_in_another_frame_than_their_camera_info(tmp_path: Path) -> None:
    write(tmp_path / "whole", Drive(sweeps=2))
    with MessageReader(tmp_path / "whole") as reader, BagWriter(tmp_path / "bag") as writer:
        for message in reader.messages():
            msg = message.decode()
            if message.topic == "/CAM_BACK/camera_info":
                msg.header.frame_id = "CAM_FRONT"
            writer.write(message.topic, msg, message.log_time_ns, transient_local=message.topic == "/tf_static")
    (notice,) = notices_of(tmp_path / "bag", config()).values()
    assert notice.startswith(
        "camera CAM_BACK: its images are in frame CAM_BACK, its CameraInfo in CAM_FRONT: the first"
    )
    assert notices_of(tmp_path / "bag", config(cameras__CAM_BACK__frame_id="CAM_BACK")) == {}
