"""Data sets with random damage: each is converted, or refused in one line that names what is wrong."""

from __future__ import annotations

import random
import shutil
import warnings
from pathlib import Path

import pytest
from bag_factory import write_nuscenes
from dataset_mutations import mutate
from kitti_factory import write_drive

from sam_adapt_ros.datasets import kitti_raw, nuscenes
from sam_adapt_ros.errors import SamAdaptError


def convert_nuscenes(root: Path, output: Path) -> None:
    nuscenes.convert(root, output, sweeps=True)


def convert_kitti(root: Path, output: Path) -> None:
    kitti_raw.convert(root / "2011_09_26" / "2011_09_26_drive_0001_sync", output)


@pytest.mark.parametrize("convert", [convert_nuscenes, convert_kitti])
def test_converted_or_refused_in_one_line(tmp_path: Path, convert) -> None:
    if convert is convert_nuscenes:
        write_nuscenes(tmp_path / "whole", scenes=2, samples=1, between=1, points=64)
    else:
        write_drive(tmp_path / "whole", frames=3, oxts=True, points=64)
    refused = 0
    for seed in range(30):
        rng = random.Random(seed)
        shutil.copytree(tmp_path / "whole", tmp_path / "data")
        what = mutate(tmp_path / "data", rng)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                convert(tmp_path / "data", tmp_path / "bag")
        except SamAdaptError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 600, (seed, what, str(error))
        except Exception as error:
            pytest.fail(f"seed {seed}, {what}: {type(error).__name__}: {error}")
        shutil.rmtree(tmp_path / "data")
        shutil.rmtree(tmp_path / "bag", ignore_errors=True)
        assert [path.name for path in tmp_path.iterdir()] == ["whole"], (seed, what)
    assert 8 < refused < 30
