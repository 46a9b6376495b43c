"""A small training run, by one process or by several that meet over gloo; run as a script, by ``torchrun``."""

import json
import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from small_network import TINY, make_frame

from sam_adapt_ros.config import AugmentationConfig, Config, TrainingConfig
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.training import trainer as trainer_module
from sam_adapt_ros.training.frame_samples import FrameSamples, TrainingSet
from sam_adapt_ros.training.ranks import start_ranks
from sam_adapt_ros.training.trainer import Trainer

CLASSES = [{"name": name, "color": [0, 0, 0]} for name in ("ground", "wall", "box")]


class Frames(list[Frame]):
    """Frames as a data set."""

    @property
    def ids(self) -> list[str]:
        return [f"drive/{frame.stamp_ns}" for frame in self]


def make_config(folder: Path, **training: Any) -> Config:
    """In ``folder``, of TINY and its three classes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY.model_dump()))
    (folder / "shapes.yaml").write_text(yaml.safe_dump({"name": "shapes", "classes": CLASSES}))
    values = {
        "architecture": str(folder / "tiny.yaml"),
        "output": str(folder / "run"),
        "iterations": 6,
        "batch_size": 4,
        "checkpoint_every": 6,
        "workers": 0,
        "augmentation": AugmentationConfig(),
        **training,
    }
    return Config(taxonomy=str(folder / "shapes.yaml"), training=TrainingConfig(**values))


def train_in(folder: Path, **training: Any) -> dict[str, Any]:
    """Losses by step and the mean IoU of a run with source, target and frames to validate on, as this process sees
    them."""
    torch.set_num_threads(1)
    config = make_config(folder, **training)
    ranks = start_ranks(config.fabric, torch.device("cpu"))
    frames = Frames(make_frame(seed, points=300) for seed in range(10))
    sets = ([TrainingSet(Frames(frames[:4]))], [TrainingSet(Frames(frames[8:]))])
    target = [TrainingSet(Frames(frames[4:8]), labelled=False)]
    source, held_out, target_samples = (FrameSamples(each, TINY) for each in (*sets, target))
    losses = []
    own_step = Trainer._step

    def step(self: Trainer, batches: Any) -> dict[str, float]:
        losses.append(own_step(self, batches))
        return losses[-1]

    trainer_module.Trainer._step = step  # type: ignore[method-assign]
    try:
        trainer = Trainer(config, source, held_out, target_samples, ranks)
        result = trainer.run(lambda *_: None)
    finally:
        trainer_module.Trainer._step = own_step  # type: ignore[method-assign]
    return {"losses": losses, "validation": result.validation, "size": ranks.size}


def run_together(function: Callable[..., Any], folder: Path, size: int = 2, **kwargs: Any) -> list[Any]:
    """What ``size`` processes return that are started as ``torchrun`` would, but from a process that has torch."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sam_adapt_ros.training.loader", "sam_adapt_ros.training.trainer"])
    processes = [
        context.Process(target=_rank, args=(function, folder, rank, size, port, kwargs)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0] * size
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(size)]


def _rank(function: Callable[..., Any], folder: Path, rank: int, size: int, port: int, kwargs: dict[str, Any]) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
    }
    (folder / f"{rank}.json").write_text(json.dumps(function(folder, **kwargs)))


if __name__ == "__main__":
    chosen = Path(sys.argv[1])
    (chosen / f"{os.environ.get('RANK', '0')}.json").write_text(json.dumps(train_in(chosen)))
