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


@pytest.mark.parametrize("which", [0, 1])
def test_an_interruption_while_names_change_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").touch()
    rename, calls = Path.rename, iter(range(9))

    def interrupted(path: Path, target: Path) -> Path:
        if next(calls) == which:
            raise KeyboardInterrupt
        return rename(path, target)

    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "out") as folder:
        (folder / "new").touch()
        monkeypatch.setattr(Path, "rename", interrupted)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "kept"]
