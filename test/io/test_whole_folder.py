from pathlib import Path

import pytest

from sam_adapt_ros.io.whole_folder import whole_folder


def test_a_folder_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with whole_folder(tmp_path / "out") as folder:
            (folder / "file").write_text(content)
            (folder / "deep").mkdir()
            (folder / "deep" / content).touch()
            if content == "new":
                assert (tmp_path / "out" / "file").read_text() == "old"
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        *("out", "out/deep", "out/deep/new", "out/file")
    ]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").touch()
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "out") as folder:
        (folder / "half").touch()
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "kept"]
