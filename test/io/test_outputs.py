"""Outputs are tried before the work begins, and replaced whole."""

import errno
import os
from pathlib import Path

import pytest

from sam_adapt_ros.errors import OutputError
from sam_adapt_ros.io.outputs import prepare_file, prepare_folder, write_text


def full_disk(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_is_made_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "b", ["report.html"], ["pictures"], force=False)
    assert list((tmp_path / "a" / "b").iterdir()) == []
    prepare_file(tmp_path / "c" / "d.json", force=False)
    assert list((tmp_path / "c").iterdir()) == []


@pytest.mark.parametrize("taken", ["out", "out/pictures", "parent"])
def test_a_file_where_a_folder_is_to_be(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_text("mine")
    output = tmp_path / "parent" / "out" if taken == "parent" else tmp_path / "out"
    named = output if taken == "parent" else tmp_path / taken
    with pytest.raises(OutputError, match=rf"^{named}: .*(folder|directory)"):
        prepare_folder(output, ["report.html"], ["pictures"], force=True)
    assert (tmp_path / taken).read_text() == "mine"


def test_a_folder_where_a_file_is_to_be(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"report\.html: a file expected, a folder is there"):
        prepare_folder(tmp_path, ["report.html"], force=True)
    with pytest.raises(OutputError, match=r"report\.html: a file expected, a folder is there"):
        prepare_file(tmp_path / "report.html", force=True)


def test_earlier_results_are_kept_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("earlier")
    with pytest.raises(OutputError, match=r"report\.html exists; choose another output or give --force"):
        prepare_folder(tmp_path, ["report.html"], force=False)
    prepare_folder(tmp_path, ["report.html"], force=True)
    assert (tmp_path / "report.html").read_text() == "earlier"


def test_a_full_disk_is_found_before_the_work_and_costs_no_earlier_result(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "bench.json"
    write_text(file, "earlier")
    monkeypatch.setattr(os, "write", full_disk)
    with pytest.raises(OutputError, match=rf"^{file}: cannot be written: No space left on device$"):
        write_text(file, "later")
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]
    assert file.read_text() == "earlier"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match=r"^/proc/1/out: cannot be written: "):
        prepare_folder(Path("/proc/1/out"), force=True)
    with pytest.raises(OutputError, match=r"cannot be written: "):
        prepare_file(Path("/proc/x.json"), force=True)


def test_devices_and_links_stay_what_they_are(tmp_path: Path) -> None:
    link, file = tmp_path / "link", tmp_path / "folder" / "file"
    file.parent.mkdir()
    link.symlink_to(file)
    prepare_file(link, force=True)
    write_text(link, "text")
    assert link.is_symlink()
    assert file.read_text() == "text"
    null = tmp_path / "null"
    null.symlink_to("/dev/null")
    prepare_file(null, force=False)
    write_text(null, "text")
    assert null.is_char_device()
    with pytest.raises(OutputError, match=r"^/dev/full: cannot be written: No space left"):
        write_text(Path("/dev/full"), "text")


def test_names_that_are_no_text_can_be_written_of(tmp_path: Path) -> None:
    write_text(tmp_path / "report.html", os.fsdecode(b"t\xfcte"))
    assert (tmp_path / "report.html").read_text() == "t\\udcfcte"
