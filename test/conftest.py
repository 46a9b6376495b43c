import logging
import os
from pathlib import Path
from typing import Any

import pytest

# Before anything imports rclpy or torch: stay on this machine, and leave the cores to the processes under test.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Where ROS is installed, launch's plugins for pytest have every new logger keep its records from the root, and so from
# caplog.
logging.setLoggerClass(logging.Logger)

from sam_adapt_ros import benchmarks  # noqa: E402
from sam_adapt_ros.simulation import render_drive  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    """Tests compare with what a CPU computes, so that a GPU is hidden from all but those that are marked ``cuda``."""
    chosen = config.option.markexpr
    if "cuda" not in chosen or "not cuda" in chosen:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real nuScenes and KITTI frames; tests that need it skip where it is not to be had."""
    folder = benchmarks.real_data()
    if folder is None:
        pytest.skip("real data not found (set SAM_ADAPT_REAL_DATA, or put it in ../shared/data)")
    return folder


@pytest.fixture(scope="session")
def night_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames of a simulated drive by night."""
    path = tmp_path_factory.mktemp("town") / "night"
    render_drive("night", seed=8, frames=3, output=path)
    return path


@pytest.fixture
def full_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA device without free memory."""
    import torch

    to = torch.nn.Module.to

    def move(module: torch.nn.Module, *args: Any, **options: Any) -> torch.nn.Module:
        if args and isinstance(args[0], torch.device) and args[0].type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")
        return to(module, *args, **options)

    monkeypatch.setattr(torch.nn.Module, "to", move)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
