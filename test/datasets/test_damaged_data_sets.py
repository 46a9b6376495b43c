"""Data sets with random damage: each is read and converted, or refused in one line that names what is wrong."""

from __future__ import annotations

import random
import shutil
import warnings
from pathlib import Path

import pytest
from bag_factory import write_nuscenes
from dataset_mutations import mutate
from kitti_factory import write_drive
from semantickitti_factory import write_sequence

from sam_adapt_ros.datasets import Selection, convert, open_dataset
from sam_adapt_ros.errors import SamAdaptError
from sam_adapt_ros.taxonomy import Taxonomy


def write(name: str, root: Path) -> None:
    if name == "nuscenes":
        write_nuscenes(root, scenes=2, samples=1, between=1, points=64)
    elif name == "kitti_raw":
        write_drive(root, frames=3, oxts=True, points=64)
    else:
        write_sequence(root, frames=3, points=64)


@pytest.mark.parametrize(
    ("name", "classes", "options"),
    [("nuscenes", "nuscenes6", {"sweeps": True}), ("kitti_raw", "nuscenes6", {}), ("semantickitti", "town", {})],
)
def test_read_and_converted_or_refused_in_one_line(tmp_path: Path, name: str, classes: str, options: dict) -> None:
    write(name, tmp_path / "whole")
    refused = 0
    for seed in range(30):
        rng = random.Random(seed)
        shutil.copytree(tmp_path / "whole", tmp_path / "data")
        what = mutate(tmp_path / "data", rng)
        for read in (True, False):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    dataset = open_dataset(name, [tmp_path / "data"], Selection(), Taxonomy.load(classes), **options)
                    if read:
                        assert all(len(frame.points) for frame in dataset)
                    else:
                        convert(dataset, tmp_path / "bag")
            except SamAdaptError as error:
                refused += 1
                assert "\n" not in str(error) and len(str(error)) < 600, (seed, what, str(error))
                assert str(tmp_path) in str(error), (seed, what, str(error))
            except Exception as error:
                pytest.fail(f"seed {seed}, {what}: {type(error).__name__}: {error}")
        shutil.rmtree(tmp_path / "data")
        shutil.rmtree(tmp_path / "bag", ignore_errors=True)
        assert [path.name for path in tmp_path.iterdir()] == ["whole"], (seed, what)
    assert 16 < refused < 60
