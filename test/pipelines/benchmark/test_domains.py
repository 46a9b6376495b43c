"""Which folder is of which data set."""

from pathlib import Path

import pytest

from sam_adapt_ros.config.benchmark import load_benchmark
from sam_adapt_ros.datasets import DATASETS
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.pipelines.benchmark.domains import assign_roots


@pytest.fixture
def folders(tmp_path):
    for below in (
        "kitti/dataset/sequences/00",
        "vkitti/vkitti_1.3.1_rgb",
        "bags/drive",
        "empty",
        "both/sequences",
        "both/vkitti3d",
    ):
        (tmp_path / below).mkdir(parents=True)
    (tmp_path / "bags/drive/metadata.yaml").touch()
    return tmp_path


def test_roots_are_known_by_what_lies_in_them(folders):
    given = [str(folders / each) for each in ("kitti", "vkitti")]
    found = assign_roots(given, ["virtual_kitti", "semantickitti"])
    assert found == {"virtual_kitti": (folders / "vkitti",), "semantickitti": (folders / "kitti",)}
    given = [str(folders / each) for each in ("bags", "kitti", "bags/drive")]
    assert assign_roots(given, ["semantickitti", "bag"])["bag"] == (folders / "bags", folders / "bags/drive")


def test_of_a_single_data_set_all_roots_are(folders):
    given = [str(folders / "empty"), str(folders / "kitti")]
    assert assign_roots(given, ["nuscenes"]) == {"nuscenes": (folders / "empty", folders / "kitti")}


def test_a_name_says_it(folders, monkeypatch):
    monkeypatch.chdir(folders)
    found = assign_roots(
        ["semantickitti=both", f"virtual_kitti={folders / 'empty'}"], ["virtual_kitti", "semantickitti"]
    )
    assert found == {"virtual_kitti": (folders / "empty",), "semantickitti": (Path("both").absolute(),)}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["empty", "kitti"], r"--data empty: of which data set is it \(neither virtual_kitti nor semantickitti\)\?"),
        (["both", "kitti"], r"--data both: of which .* \(virtual_kitti or semantickitti\)\? Give --data NAME=both"),
        (["kitti"], "--data: a root of the data set virtual_kitti expected, got kitti"),
        ([], "--data: a root of the data set virtual_kitti expected, got none"),
    ],
)
def test_what_is_unclear_is_refused(folders, monkeypatch, given, said):
    monkeypatch.chdir(folders)
    with pytest.raises(ConfigError, match=said):
        assign_roots(given, ["virtual_kitti", "semantickitti"])


@pytest.mark.parametrize("name", ["usa_singapore", "day_night", "vkitti_semantickitti", "a2d2_semantickitti"])
def test_the_splits_of_the_benchmarks_are_those_of_their_data_sets(name):
    config = load_benchmark(name)
    for domain, splits in ((config.source, ["train"]), (config.target, ["train", "test"])):
        assert {getattr(domain, each) for each in splits} <= set(DATASETS[domain.dataset].splits)
