"""A benchmark small enough for seconds: the shapes' world by day and at dusk, as data sets of a few frames."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from learning_support import make_frame
from small_network import TINY

from sam_adapt_ros import datasets
from sam_adapt_ros.config.benchmark import BenchmarkConfig
from sam_adapt_ros.datasets import Dataset
from sam_adapt_ros.io import atomic_write, outputs
from sam_adapt_ros.pipelines.benchmark.run import make_plan, run_benchmark

CLASSES = ("ground", "wall", "box", "tree")  # there is no tree


class Shapes(Dataset):
    name = "shapes"
    splits = ("day", "dusk", "dusk_test")
    FIRST, COUNT = {"day": 0, "dusk": 100, "dusk_test": 200}, {"day": 8, "dusk": 7, "dusk_test": 4}

    def __init__(self, roots, selection, taxonomy, notices=None):
        self.split = selection.split

    @property
    def ids(self):
        return [f"{self.split}/{place:06d}" for place in range(self.COUNT[self.split])]

    def frame(self, index):
        seed = self.FIRST[self.split] + index
        frame = make_frame(seed, 500, dusk=self.split != "day")
        rng = np.random.default_rng(seed)
        points = frame.points + rng.normal(0, 0.02, frame.points.shape).astype(np.float32)
        if (self.split, index) == ("dusk", 3):  # a sweep without any point, as A2D2 has
            return replace(frame, points=points[:0], ground_truth=frame.ground_truth[:0])
        return replace(frame, points=points)


datasets.DATASETS["shapes"] = Shapes


def write_files(folder: Path) -> dict[str, str]:
    """Class set and architecture, as files."""
    taxonomy, architecture = folder / "shapes4.yaml", folder / "tiny.yaml"
    classes = [{"name": name, "color": [place, 0, 0]} for place, name in enumerate(CLASSES)]
    taxonomy.write_text(yaml.safe_dump({"name": "shapes4", "classes": classes}))
    architecture.write_text(yaml.safe_dump(TINY.model_dump()))
    return {"taxonomy": str(taxonomy), "training.architecture": str(architecture)}


def small_benchmark(folder: Path) -> BenchmarkConfig:
    files = write_files(folder)
    return BenchmarkConfig.model_validate(
        {
            "title": "shapes, day -> dusk",
            "source": {"dataset": "shapes", "train": "day"},
            "target": {"dataset": "shapes", "train": "dusk[1:]", "test": "dusk_test"},
            "settings": {
                "taxonomy": files["taxonomy"],
                "segmenter": {"device": "cpu", "threads": 1},
                "training": {
                    "architecture": files["training.architecture"],
                    "encoder_weights": "",
                    "batch_size": 3,
                    "iterations": 8,
                    "learning_rate": 1.0e-2,
                    "workers": 0,
                    "checkpoint_every": 4,
                    "device": "cpu",
                    "augmentation": {"rotation_noise": 0.02, "translation": 0.5, "color_jitter": 0.1},
                },
                "masks": {"generator": "segments+regions"},
                "pseudo_labels": {"enhancement": {"min_purity": 0.7, "min_points": 2}},
            },
            "stages": {"source": {"training": {"iterations": 45, "lambda_xm": 0.0}}},
            "student_labels": {"uda": "branches", "source_free": "fused"},
            "published": [
                {"name": "source only", "stage": "source", "miou": [58.4, 62.8, 68.2]},
                {"name": "another method", "miou": [70.0, None, 72.3]},
            ],
            "published_by": "unsupervised domain adaptation; a paper",
        }
    )


def plan_of(folder: Path, setting: str = "uda", **options):
    """folder: for files. In shards of two frames."""
    return make_plan(small_benchmark(folder), setting, ["shapes=."], frames_a_shard=2, **options)


def die_at_write(number: int) -> None:
    """From now on, this process kills itself in the middle of the write of that number."""
    written = 0
    write = os.write

    def write_or_die(descriptor, data):
        nonlocal written
        written += 1
        if written == number:
            write(descriptor, bytes(data)[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(descriptor, data)

    assert atomic_write.os is os and outputs
    os.write = write_or_die


if (
    __name__ == "__main__"
):  # <folder for files> <output> <source weights, or "" for uda> <number of the write to die at>
    import torch

    torch.set_num_threads(1)
    files, output, weights, number = sys.argv[1:]
    given = {"setting": "source_free", "weights": Path(weights)} if weights else {}
    plan = plan_of(Path(files), **given)
    die_at_write(int(number))
    run_benchmark(plan, Path(output))
