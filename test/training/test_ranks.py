import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rank_support
import torch
from small_network import TINY, make_frame

from sam_adapt_ros.config import FabricConfig
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.progress import no_progress
from sam_adapt_ros.training.frame_samples import FrameSamples, TrainingSet
from sam_adapt_ros.training.ranks import Ranks, start_ranks
from sam_adapt_ros.training.trainer import Trainer

CPU = torch.device("cpu")


def check_equal(one: dict, others: list[dict]) -> None:
    assert one["size"] == 1 and [other["size"] for other in others] == [2, 2]
    for other in others:
        assert len(other["losses"]) == len(one["losses"]) == 6
        for ours, theirs in zip(one["losses"], other["losses"], strict=True):
            assert set(ours) == set(theirs) and "target_xm_3d" in ours
            assert theirs == pytest.approx(ours, abs=1e-4)
        assert other["validation"] == others[0]["validation"]


def test_two_processes_have_the_losses_of_one(tmp_path: Path) -> None:
    """With dropout and BatchNorm, source and target; the validation frames are divided among them."""
    one = rank_support.train_in(tmp_path / "one")
    (tmp_path / "two").mkdir()
    check_equal(one, rank_support.run_together(rank_support.train_in, tmp_path / "two"))
    assert one["losses"][5] != pytest.approx(one["losses"][0], abs=1e-2)  # something was learned


@pytest.mark.soak
def test_torchrun_gives_the_losses_of_one_process(tmp_path: Path) -> None:
    one = rank_support.train_in(tmp_path / "one")
    (tmp_path / "two").mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    support = Path(rank_support.__file__)
    path = os.pathsep.join([str(support.parent), *sys.path])
    script = [str(support), str(tmp_path / "two")]
    subprocess.run([*command, *script], check=True, env=os.environ | {"PYTHONPATH": path})
    check_equal(one, [json.loads((tmp_path / "two" / f"{rank}.json").read_text()) for rank in (0, 1)])


def test_one_device_in_float32_needs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    ranks = start_ranks(FabricConfig(), CPU)
    assert type(ranks) is Ranks and (ranks.rank, ranks.size, ranks.device) == (0, 1, CPU)
    with pytest.raises(ConfigError, match=r"need Lightning Fabric: pip install 'sam_adapt_ros\[train\]'"):
        start_ranks(FabricConfig(precision="bfloat16"), CPU)


def test_settings_that_torchrun_contradicts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"^fabric\.devices: 3, but torchrun started 2"):
        start_ranks(FabricConfig(devices=3), CPU)
    with pytest.raises(ConfigError, match=r"^fabric\.num_nodes: 1, but torchrun started 2"):
        start_ranks(FabricConfig(devices=2, num_nodes=1), CPU)


def test_several_machines_are_started_by_torchrun() -> None:
    with pytest.raises(ConfigError, match=r"^fabric\.num_nodes: .* torchrun on each"):
        start_ranks(FabricConfig(num_nodes=2), CPU)


def test_mixed_precision_is_of_fabric(tmp_path: Path) -> None:
    """On a CPU it changes no number: there is nothing to gain."""
    ranks = start_ranks(FabricConfig(precision="float16"), CPU)
    assert ranks.size == 1 and type(ranks) is not Ranks
    config = rank_support.make_config(tmp_path, iterations=2, checkpoint_every=1)
    frames = rank_support.Frames(make_frame(seed, points=300) for seed in range(4))
    sets = FrameSamples([TrainingSet(frames)], TINY)
    trainer = Trainer(config, sets, (), ranks=ranks)
    trainer.run(no_progress)
    again = Trainer(config, sets, (), ranks=ranks)
    again.restore()
    assert again.iteration == 2
