"""Folders whose files and metadata.yaml differ: all that is there is read, and what is not is said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from bag_factory import Drive, config
from rosbags.interfaces import QosDurability, QosReliability

from sam_adapt_ros.bags import BagReader, BagWriter, MessageReader, bag_info
from sam_adapt_ros.bags.rosbag2_folder import Rosbag2Folder
from sam_adapt_ros.errors import BagError, MessageError
from sam_adapt_ros.notices import Notices

SWEEPS = 4


def write(path: Path, storage: Any = "mcap", drive: Drive | None = None) -> Path:
    with BagWriter(path, storage) as writer:
        (drive or Drive(sweeps=SWEEPS)).write(writer)
    return path


def edit(bag: Path, change: Any) -> None:
    """Changes the content of metadata.yaml in place."""
    file = bag / "metadata.yaml"
    metadata = yaml.safe_load(file.read_text())
    change(metadata["rosbag2_bagfile_information"])
    file.write_text(yaml.safe_dump(metadata))


def split(folder: Path, storage: Any = "mcap", later_ns: int = 60_000_000_000) -> Path:
    """A bag of two files, listed in the wrong order: a drive, and a later one."""
    write(folder / "bag", storage)
    later = Drive(sweeps=SWEEPS)
    later.sweep_ns = lambda index: Drive().sweep_ns(index) + later_ns  # type: ignore[method-assign]
    write(folder / "later", storage, later)
    suffix = "mcap" if storage == "mcap" else "db3"
    shutil.move(folder / "later" / f"later.{suffix}", folder / "bag" / f"later.{suffix}")

    def change(content: Any) -> None:
        content["relative_file_paths"] = [f"later.{suffix}", f"bag.{suffix}"]
        for topic in content["topics_with_message_count"]:
            topic["message_count"] *= 2

    edit(folder / "bag", change)
    return folder / "bag"


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_quality_of_service_edited_in_the_metadata_costs_no_message(tmp_path: Path, storage: str) -> None:
    bag = write(tmp_path / "bag", storage)

    def change(content: Any) -> None:
        for topic in content["topics_with_message_count"]:
            metadata = topic["topic_metadata"]
            if metadata["name"] == "/LIDAR_TOP":
                metadata["offered_qos_profiles"][0] |= {"reliability": "best_effort", "durability": "transient_local"}
            if metadata["name"] == "/tf":
                metadata["offered_qos_profiles"] = [{"history": "no such profile"}]
            metadata["type_description_hash"] = "RIHS01_of_another_distribution"

    edit(bag, change)
    with BagReader(bag, config()) as reader:
        assert len(list(reader.frames())) == SWEEPS
        assert list(reader.notices) == []
        (qos,) = reader.topics["/LIDAR_TOP"].offered_qos
        assert reader.topics["/LIDAR_TOP"].count == SWEEPS
        (unreadable,) = reader.topics["/tf"].offered_qos  # the file's own
    assert (qos.reliability, qos.durability) == (QosReliability.BEST_EFFORT, QosDurability.TRANSIENT_LOCAL)
    assert unreadable.reliability is QosReliability.RELIABLE


def test_messages_that_the_metadata_has_and_the_files_have_not_are_told(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag")

    def change(content: Any) -> None:
        for topic in content["topics_with_message_count"]:
            topic["message_count"] += topic["topic_metadata"]["name"] in ("/LIDAR_TOP", "/odom")

    edit(bag, change)
    expected = f"{bag}: the files hold fewer messages than metadata.yaml says: /odom 12 of 13, /LIDAR_TOP 4 of 5"
    assert bag_info(bag, config()).notices == [expected]
    with BagReader(bag, config()) as reader:
        assert len(list(reader.frames())) == SWEEPS
        assert list(reader.notices) == [expected]


def test_messages_that_the_index_has_and_reading_does_not_yield_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = write(tmp_path / "bag")
    whole = Rosbag2Folder.messages

    def without_the_last(self: Rosbag2Folder, *arguments: Any) -> Any:
        yield from list(whole(self, *arguments))[:-1]

    monkeypatch.setattr(Rosbag2Folder, "messages", without_the_last)
    with MessageReader(bag) as reader:
        assert len(list(reader.messages(["/LIDAR_TOP"]))) == SWEEPS - 1
        assert list(reader.notices) == [f"{bag}: /LIDAR_TOP has 3 messages, 4 by the file's index"]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("later_ns", [60_000_000_000, 150_000_000], ids=["apart", "overlapping"])
def test_files_are_read_in_the_order_of_time(tmp_path: Path, storage: str, later_ns: int) -> None:
    bag = split(tmp_path, storage, later_ns)
    with MessageReader(bag) as reader:
        times = [message.log_time_ns for message in reader.messages()]
        assert times == sorted(times) and len(times) == reader._reader.message_count
        assert (reader.start_ns, reader.end_ns) == (times[0], times[-1])
        assert reader.topics["/LIDAR_TOP"].count == 2 * SWEEPS
        assert list(reader.notices) == []


def test_a_missing_file_of_several(tmp_path: Path) -> None:
    bag = split(tmp_path)
    (bag / "later.mcap").unlink()
    with BagReader(bag, config()) as reader:
        assert len(list(reader.frames())) == SWEEPS
        files, counts = reader.notices
    assert files == f"{bag}: only some of its files can be read, the rest not: later.mcap: no such file"
    assert "/LIDAR_TOP 4 of 8" in counts
    (bag / "bag.mcap").unlink()
    with pytest.raises(BagError, match=r"bag: cannot be read: later.mcap: no such file; bag.mcap: no such file"):
        bag_info(bag, config())


def test_a_file_of_several_that_was_cut_short(tmp_path: Path) -> None:
    bag = split(tmp_path)
    content = (bag / "later.mcap").read_bytes()
    (bag / "later.mcap").write_bytes(content[: len(content) // 2])
    info = bag_info(bag, config())
    assert info.usable and info.frames == SWEEPS
    assert "later.mcap: File end magic is invalid. It was cut short" in info.notices[0]
    assert "mcap recover" in info.notices[0]


def test_a_topic_of_two_types_is_that_of_most_of_its_messages(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "first") as writer:
        Drive(sweeps=SWEEPS).write(writer)
    with BagWriter(tmp_path / "bag") as writer:
        text = writer.types["std_msgs/msg/String"]("not a cloud")
        writer.write("/LIDAR_TOP", text, Drive().sweep_ns(1), msgtype="std_msgs/msg/String")
        writer._connections.clear()  # a second connection of another type
        Drive(sweeps=SWEEPS).write(writer)
    with BagReader(tmp_path / "bag", config()) as reader:
        assert len(list(reader.frames())) == SWEEPS
        assert reader.topics["/LIDAR_TOP"].msgtype == "sensor_msgs/msg/PointCloud2"
        (notice,) = reader.notices
    assert "/LIDAR_TOP was recorded with several types: sensor_msgs/msg/PointCloud2 is read" in notice
    assert "left out are 1 of std_msgs/msg/String" in notice


def test_channels_of_other_serializations_are_left_out(tmp_path: Path) -> None:
    """As Foxglove's bridge writes them beside ROS 2's: JSON or protobuf, with a schema of that kind."""
    bag = tmp_path / "bag"
    with BagWriter(bag) as writer:
        writer.write("/json", writer.types["std_msgs/msg/String"]("{}"), Drive().sweep_ns(0))
        Drive(sweeps=SWEEPS).write(writer)
    data = (bag / "bag.mcap").read_bytes()
    size = (7).to_bytes(4, "little")
    data = data.replace(b"std_msgs/msg/String" + size + b"ros2msg", b"std_msgs/msg/String" + size + b"jsonsch")
    size = (3).to_bytes(4, "little")
    changed = data.replace(b"/json" + size + b"cdr", b"/json" + size + b"jsn")
    assert changed != data
    (bag / "bag.mcap").write_bytes(changed)

    def change(content: Any) -> None:
        for topic in content["topics_with_message_count"]:
            if topic["topic_metadata"]["name"] == "/json":
                topic["topic_metadata"]["serialization_format"] = "json"

    edit(bag, change)
    for path in (bag, bag / "bag.mcap"):
        with BagReader(path, config()) as reader:
            assert len(list(reader.frames())) == SWEEPS
            assert "/json" not in reader.topics
            assert list(reader.notices) == [f"{path}: left out, since they are not serialized as cdr: /json (jsn)"]


def test_messages_without_content_are_counted(tmp_path: Path) -> None:
    drive = Drive(sweeps=SWEEPS)
    with BagWriter(tmp_path / "bag") as writer:
        drive.write(writer)
        for topic, connection in list(writer._connections.items()):
            writer.write(topic, b"", drive.sweep_ns(SWEEPS), msgtype=connection.msgtype)
    with BagReader(tmp_path / "bag", config()) as reader:
        assert len(list(reader.frames())) == SWEEPS
        assert reader.counts.dropped == {"undecodable": 1}
        assert reader.counts.cameras["undecodable.CAM_FRONT"] == reader.counts.cameras["undecodable.CAM_BACK"] == 1
        assert reader.counts.messages["undecodable./tf"] == 1
        assert f"{tmp_path / 'bag'}: /tf_static: 1 messages left out (undecodable)" in list(reader.notices)
        message = next(reader.messages(["/tf_static"]))
        assert message.cdr()
        *_, empty = reader.messages(["/tf_static"])
        with pytest.raises(MessageError, match="/tf_static: not a tf2_msgs/msg/TFMessage: 0 bytes"):
            empty.cdr()


def test_what_the_metadata_lacks_is_named(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag")
    for change, problem in (
        (lambda content: content.update(version=99), r"metadata\.yaml: version: one of 1, .*, 9 expected, got 99"),
        (lambda content: content.update(version=9, storage_identifier="csv"), "storage_identifier: one of mcap, sql"),
        (
            lambda content: content.update(
                storage_identifier="mcap", compression_mode="MESSAGE", compression_format="lz4"
            ),
            "compression_format: one of zstd expected, got 'lz4'",
        ),
        (lambda content: content.pop("relative_file_paths"), "no field 'relative_file_paths'"),
    ):
        edit(bag, change)
        with pytest.raises(BagError, match=problem), MessageReader(bag):
            pass
    with pytest.raises(BagError):
        Rosbag2Folder(tmp_path, Notices()).open()
