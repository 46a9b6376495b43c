"""Parts of long work on a Ray cluster (https://docs.ray.io): many machines that share a disk."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from sam_adapt_ros import __version__
from sam_adapt_ros.errors import ConfigError, ParallelError
from sam_adapt_ros.parallel.engine import Outcomes, Report
from sam_adapt_ros.parallel.shard import ATTEMPTS, Function, Shard, attempt, lost
from sam_adapt_ros.progress import no_progress

logger = logging.getLogger(__name__)

LOCAL = "local"
_POLL_S = 1.0
_STORE_BYTES = 100_000_000  # hardly used: outputs are files


class RayCluster:
    """A task a part, on one core, and on one GPU where the part wants one and the cluster has any; Ray does those again
    whose worker dies.

    address: ``auto`` is the cluster that this machine is part of, ``local`` one of this process alone, which ends with
    it; else that of a cluster, such as ``10.0.0.1:6379``. cores: of the cluster that is begun here; None: all.
    """

    def __init__(self, address: str, cores: int | None = None) -> None:
        self.address, self.cores = address, cores

    def run(self, function: Function[Any], shards: Sequence[Shard[Any]], folder: Path, report: Report) -> Outcomes:
        """Raises ConfigError where Ray or the cluster cannot be used, ParallelError when the cluster is lost."""
        ray = _import_ray()
        mine = not ray.is_initialized()
        if mine:
            self._connect(ray)
        tasks: dict[Any, int] = {}
        try:
            gpus = 1 if ray.cluster_resources().get("GPU") else 0
            task = ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1)(_attempt)
            given = ray.put((__version__, str(Path.cwd()), function))
            for place, shard in enumerate(shards):
                own = task.options(name=shard.name, num_gpus=gpus * shard.gpu)
                tasks[own.remote(given, shard.work, folder.absolute() / shard.name)] = place
            while tasks:
                for done in ray.wait(list(tasks), timeout=_POLL_S)[0]:
                    place = tasks.pop(done)
                    yield place, _outcome(ray, done, shards[place].name)
        except (ray.exceptions.RaySystemError, ConnectionError) as error:
            raise ParallelError(
                f"--ray {self.address}: the cluster is lost ({error}); what is done stays: run the command again"
            ) from None
        finally:
            with suppress(Exception):
                for each in tasks:
                    ray.cancel(each, force=True)
            if mine:
                ray.shutdown()

    def _connect(self, ray: ModuleType) -> None:
        options: dict[str, Any] = {}
        if self.address == LOCAL:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_worker_niceness", "0")  # as local processes; Ray's own default is 15
            options = {"num_cpus": self.cores, "include_dashboard": False, "object_store_memory": _STORE_BYTES}
        try:
            ray.init(address=self.address, logging_level=logging.ERROR, **options)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ConfigError(
                f"--ray {self.address}: no Ray cluster there ({reason}); begin one with 'ray start --head', or give "
                "--ray local"
            ) from None


def _outcome(ray: ModuleType, done: Any, name: str) -> Exception | None:
    try:
        error: Exception | None = ray.get(done)
    except ray.exceptions.RayTaskError as failed:  # beyond what _attempt catches, such as a package that is not there
        return RuntimeError(f"{name}: {failed}")
    except ray.exceptions.RayError as failed:
        return lost(name, (str(failed).strip() or type(failed).__name__).splitlines()[0])
    return error


def _attempt(given: tuple[str, str, Function[Any]], work: Any, output: Path) -> Exception | None:
    """Does one part in a worker of Ray's."""
    version, folder, function = given
    where = socket.gethostname()
    if version != __version__:
        return ParallelError(
            f"sam_adapt_ros {version} expected, {where} has {__version__}: install the same everywhere"
        )
    with suppress(OSError):
        os.chdir(folder)  # what relative paths are below
    return attempt(function, work, output, no_progress)


def _import_ray() -> ModuleType:
    try:
        import ray
    except ImportError:
        raise ConfigError("--ray: Ray is not installed; pip install 'sam_adapt_ros[fleet]'") from None
    return ray
