"""What it costs to share work: the same tasks on two cores, by local processes and by Ray, against one process."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from pathlib import Path

from sam_adapt_ros.benchmarks import Figure
from sam_adapt_ros.io.atomic_write import write_atomically
from sam_adapt_ros.parallel import Engine, Shard, choose_engine, map_shards
from sam_adapt_ros.progress import Progress

CORES = 2


def run(quick: bool = False) -> list[Figure]:
    """Wall time, start and end of the workers included, over half of the time that one process takes. Two cores that
    are otherwise idle are needed."""
    tasks, seconds = (4, 2.0) if quick else (12, 10.0)
    engines: dict[str, Engine] = {"local processes": choose_engine(CORES)}
    if importlib.util.find_spec("ray") is not None:
        engines["Ray"] = choose_engine(CORES, "local")
    alone = _wall_seconds(choose_engine(), tasks, seconds)
    note = f"{tasks} tasks of {seconds:g} s, {CORES} workers"
    figures = [Figure("one process, by task", alone / tasks, "s", "", f"{tasks} tasks that compute for {seconds:g} s")]
    for name, engine in engines.items():
        share = _wall_seconds(engine, tasks, seconds) / (alone / CORES)
        target = "<= 15 %" if seconds >= 10 else ""
        figures.append(Figure(f"overhead of {name}", 100 * (share - 1), "%", target, note))
    return figures


def compute(seconds: float, output: Path, progress: Progress) -> None:
    """Computes for so many seconds of this thread's time on a core, whatever else runs: a ``Function``."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(10_000))
    write_atomically(output, b"")


def _wall_seconds(engine: Engine, tasks: int, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        map_shards(compute, [Shard(f"task-{number}", seconds) for number in range(tasks)], Path(folder), engine)
        return time.perf_counter() - start
