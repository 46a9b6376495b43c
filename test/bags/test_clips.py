"""Folders of bags."""

from pathlib import Path

import pytest

from sam_adapt_ros.bags.clips import find_bags
from sam_adapt_ros.errors import BagError


def bag(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "metadata.yaml").touch()
    return path


def test_a_folder_stands_for_the_bags_in_it_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    clips = [bag(tmp_path / "clips" / f"clip-{number}") for number in (10, 2, 1)]
    (tmp_path / "clips" / "notes.txt").touch()
    (tmp_path / "clips" / "pictures").mkdir()
    loose = tmp_path / "clips" / "old.bag"
    loose.touch()
    single, missing = bag(tmp_path / "single"), tmp_path / "missing"
    found = find_bags([single, str(tmp_path / "clips"), missing])
    assert found == [single, clips[2], clips[1], clips[0], loose, missing]


def test_a_folder_without_bags_is_named(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=f"{tmp_path}: a bag or a folder of bags expected"):
        find_bags([tmp_path])
