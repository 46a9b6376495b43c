"""The engine that a command line asks for."""

from __future__ import annotations

from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.parallel.engine import Engine, ThisProcess
from sam_adapt_ros.parallel.local_processes import LocalProcesses
from sam_adapt_ros.parallel.ray_cluster import LOCAL, RayCluster


def choose_engine(workers: int | None = None, ray: str = "") -> Engine:
    """workers: processes of this machine; None or 1: this one. ray: address of a cluster, see ``RayCluster``.

    Raises ConfigError for workers of a cluster, which has as many as it has.
    """
    if not ray:
        return LocalProcesses(workers) if workers and workers > 1 else ThisProcess()
    if workers and ray != LOCAL:
        raise ConfigError(f"--workers {workers}: a Ray cluster has the workers that it has; leave out one of the two")
    return RayCluster(ray, workers)
