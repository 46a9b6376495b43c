"""A bag that is compressed file by file: unpacked once, not into its own folder, and gone afterwards."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import loader_work
import parallel_support
import pytest
import yaml
from bag_factory import Drive, config

from sam_adapt_ros.bags import BagReader, BagWriter, MessageReader, bag_info, unpacked_files
from sam_adapt_ros.bags.unpacked_files import zstd
from sam_adapt_ros.parallel import Shard, choose_engine, map_shards
from sam_adapt_ros.resources import share_directory
from sam_adapt_ros.training.loader import map_ahead


def compress(bag: Path) -> Path:
    """As ``ros2 bag record --compression-mode file`` leaves it."""
    metadata = yaml.safe_load((bag / "metadata.yaml").read_text())
    content = metadata["rosbag2_bagfile_information"]
    content |= {"compression_mode": "FILE", "compression_format": "zstd"}
    for place, name in enumerate(content["relative_file_paths"]):
        (bag / f"{name}.zstd").write_bytes(zstd.compress((bag / name).read_bytes()))
        (bag / name).unlink()
        content["relative_file_paths"][place] = f"{name}.zstd"
    (bag / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    return bag


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    with BagWriter(tmp_path / "drive") as writer:
        Drive(sweeps=2).write(writer)
    return compress(tmp_path / "drive")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The system's temporary folder."""
    unpacked_files.remove_unpacked()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    yield tmp_path / "tmp"
    unpacked_files.remove_unpacked()


def test_a_bag_is_unpacked_once_and_not_into_its_folder(
    bag: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked: list[Path] = []
    real = unpacked_files._unpack
    monkeypatch.setattr(unpacked_files, "_unpack", lambda path, target: (unpacked.append(path), real(path, target)))
    before = sorted(bag.iterdir())
    assert bag_info(bag, config()).frames == 2
    with BagReader(bag, config()) as reader:
        assert len(list(reader.frames())) == len(list(reader.frames())) == 2
        assert sorted(bag.iterdir()) == before
    assert unpacked == [bag / "drive.mcap.zstd"]
    assert len(list(temporary.glob("*/*"))) == 1


def test_a_bag_that_was_written_anew_is_unpacked_anew(bag: Path, tmp_path: Path) -> None:
    assert bag_info(bag, config()).frames == 2
    with BagWriter(bag, force=True) as writer:
        Drive(sweeps=3).write(writer)
    assert bag_info(compress(bag), config()).frames == 3


def test_another_bag_takes_its_place_and_who_reads_goes_on(bag: Path, temporary: Path, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "other", storage="sqlite3") as writer:
        Drive(sweeps=1).write(writer)
    other = compress(tmp_path / "other")
    with MessageReader(bag) as first:
        messages = first.messages()
        assert next(messages)
        with MessageReader(other) as second:
            assert [file.suffix for file in temporary.glob("*/*")] == [".db3"]
            assert sum(1 for _ in second.messages()) > 5
        assert sum(1 for _ in messages) > 10


def test_nothing_stays_behind_the_process(bag: Path, temporary: Path) -> None:
    command = [sys.executable, "-m", "sam_adapt_ros.cli", "info", str(bag), "-c", "nuscenes"]
    environment = {"TMPDIR": str(temporary), "PYTHONPATH": str(share_directory()), "PATH": "/usr/bin:/bin"}
    subprocess.run(command, env=environment, capture_output=True, check=True)
    assert [path for path in temporary.iterdir() if path.name.startswith("sam_adapt")] == []


def test_nothing_stays_behind_the_processes_that_do_a_part_of_the_work(
    bag: Path, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(temporary))
    shards = [Shard(str(number), (bag, temporary)) for number in range(2)]
    map_shards(parallel_support.read_packed, shards, tmp_path / "out", choose_engine(2))
    assert list(temporary.glob("sam_adapt_bag*")) == []
    assert list(map_ahead(partial(loader_work.read_packed, bag, temporary), range(2), 2)) == [True, True]
    deadline = time.monotonic() + 20.0  # the loader does not wait for the end of its processes
    while list(temporary.glob("sam_adapt_bag*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(temporary.glob("sam_adapt_bag*")) == []


def test_a_damaged_file_and_a_full_disk_are_named(bag: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfileobj", full)
        with pytest.raises(Exception, match=rf"{temporary}, where it is unpacked: No space left .*TMPDIR"):
            bag_info(bag, config())
    file = bag / "drive.mcap.zstd"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(Exception, match=rf"^{bag}: cannot be read: drive\.mcap\.zstd: "):
        bag_info(bag, config())
    assert list(temporary.glob("*/*")) == []
