"""The same on a Ray cluster of one core and, as it says, one GPU, which all tests of this module share."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import parallel_support as work
import pytest

from sam_adapt_ros.errors import BagError, ConfigError, ParallelError
from sam_adapt_ros.parallel import Engine, Shard, choose_engine, map_shards
from sam_adapt_ros.parallel.ray_cluster import RayCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Engine]:
    ray = pytest.importorskip("ray")
    engine = RayCluster("local", cores=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))  # where workers find parallel_support
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # Ray compares with it how many GPUs are claimed
        patch.setattr(ray, "init", partial(ray.init, num_gpus=1))
        engine._connect(ray)
        yield engine
        ray.shutdown()


def test_no_cluster_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match=r"^--ray auto: no Ray cluster there .*'ray start --head'.*--ray local$"):
        map_shards(work.square, [Shard("part", 1)], tmp_path, choose_engine(ray="auto"))


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'sam_adapt_ros\[fleet\]'"):
        map_shards(work.square, [Shard("part", 1)], tmp_path, choose_engine(ray="auto"))


def test_a_cluster_has_the_workers_that_it_has() -> None:
    with pytest.raises(ConfigError, match="--workers 3"):
        choose_engine(3, "10.0.0.1:6379")
    assert choose_engine(3, "local").cores == 3  # type: ignore[attr-defined]


def test_parts_are_done_and_those_of_killed_workers_again(
    cluster: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reports: list[tuple[int, int]] = []
    shards = [Shard("a", Path("a-died")), Shard("b", Path("b-died").absolute())]
    outputs = map_shards(work.die_once, shards, Path("out"), cluster, lambda *each: reports.append(each))
    assert [output.read_text() for output in outputs] == ["0", "0"]
    assert (tmp_path / "a-died").exists()  # relative paths are below the driver's folder
    assert reports == [(0, 2), (1, 2), (2, 2)]


def test_a_gpu_is_for_parts_that_compute_on_it(cluster: Engine, tmp_path: Path) -> None:
    outputs = map_shards(work.count_gpus, [Shard("network", 0), Shard("files", 0, gpu=False)], tmp_path, cluster)
    assert [work.value(output) for output in outputs] == [1, 0]


@pytest.mark.soak
def test_parts_that_fail_or_kill_every_worker_are_named_and_the_others_are_done(
    cluster: Engine, tmp_path: Path
) -> None:
    with pytest.raises(BagError, match=r"^bag 1: odd$"):
        map_shards(work.refuse_odd, [Shard("part-1", 1), Shard("part-2", 2)], tmp_path / "odd", cluster)
    assert work.value(tmp_path / "odd" / "part-2") == 4
    with pytest.raises(ParallelError, match=r"^part-1: its worker died 3 times"):
        map_shards(work.die, [Shard("part-1", 1), Shard("part-2", 2)], tmp_path / "die", cluster)
    assert work.value(tmp_path / "die" / "part-2") == 4
