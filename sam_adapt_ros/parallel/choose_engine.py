"""The engine that a command line asks for."""

from __future__ import annotations

from sam_adapt_ros.parallel.engine import Engine, ThisProcess
from sam_adapt_ros.parallel.local_processes import LocalProcesses


def choose_engine(workers: int = 1) -> Engine:
    """workers: processes of this machine; 1: this one."""
    return ThisProcess() if workers == 1 else LocalProcesses(workers)
