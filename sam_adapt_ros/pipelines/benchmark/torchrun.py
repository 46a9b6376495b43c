"""A training on several devices: its processes are started by ``torchrun``; the benchmark itself is one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed

from sam_adapt_ros.errors import ConfigError, SamAdaptError
from sam_adapt_ros.io.outputs import write_text

_MODULE = "sam_adapt_ros.pipelines.benchmark.training_process"
_REQUEST = ".training.json"


def train_in_processes(
    plan: Mapping[str, Any], model: str, folder: Path, inputs: Mapping[str, Path], processes: int
) -> None:
    """Trains a model of a plan into its folder. plan: see ``Plan.request``. inputs: folders of the stages it needs.

    Raises SamAdaptError when the processes fail, whose output says why; ConfigError where the benchmark itself was
    started by torchrun.
    """
    if torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
        raise ConfigError(
            "benchmark: start it as one process, with -s fabric.devices=N; it starts the processes of a training itself"
        )
    request = {
        "plan": plan,
        "model": model,
        "driver": os.getpid(),
        "folder": str(folder.absolute()),
        "inputs": {name: str(path.absolute()) for name, path in inputs.items()},
    }
    write_text(folder / _REQUEST, json.dumps(request))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    ended = subprocess.run([*torchrun, "-m", _MODULE, str(folder / _REQUEST)], check=False).returncode
    if ended:
        raise SamAdaptError(
            f"{model}: {processes} processes of its training ended with {ended}; what they print says why"
        )
