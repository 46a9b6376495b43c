"""A function over the parts of long work: each done once, whatever is killed meanwhile."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sam_adapt_ros.errors import OutputError, ParallelError, SamAdaptError
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.io.lock import alone
from sam_adapt_ros.io.outputs import output_errors, prepare_folder, write_text
from sam_adapt_ros.parallel.engine import Engine, ThisProcess
from sam_adapt_ros.parallel.shard import Function, Shard, is_disk_full
from sam_adapt_ros.progress import Progress, no_progress

logger = logging.getLogger(__name__)

T = TypeVar("T")
LOCK, SETTINGS = ".lock", ".settings.json"
_FAILURES_SHOWN = 3


def map_shards(
    function: Function[T],
    shards: Sequence[Shard[T]],
    folder: Path,
    engine: Engine | None = None,
    progress: Progress = no_progress,
    settings: Mapping[str, Any] | None = None,
    force: bool = False,
) -> list[Path]:
    """Has ``function`` make the output of every part in ``folder``; returns these paths, in order.

    An output that is there is done: after an interruption, however hard, the same call goes on with the rest. The
    outputs are the same whatever the engine. Where parts fail, the others are done all the same, unless the disk is
    full.

    Args:
        engine: None: one part after the other, in this process.
        progress: in the unit of the parts' sizes.
        settings: what the outputs depend on besides the parts' names, such as the configuration and the version of the
            weights. Outputs that were made with others, or not by this function, are not taken for these. None: the
            names say it all.
        force: does everything again: what is there is removed.

    Raises:
        OutputError: the folder cannot be written, another process is at work in it, or its outputs are not to be taken.
        SamAdaptError: as the function raises it, where one part failed. ParallelError: several did; it names them.
    """
    names = [shard.name for shard in shards]
    if len(set(names)) < len(names) or any(Path(name).name != name or name.startswith(".") for name in names):
        raise ValueError(f"different names of files expected, got {names}")
    prepare_folder(folder, force=True)
    taken = OutputError(f"{folder}: another process is at work here; wait for it, or choose another output")
    with alone(folder / LOCK, taken):
        _clean(folder, shards, settings, force)
        _run(function, shards, folder, engine or ThisProcess(), progress)
    return [folder / name for name in names]


def _run(function: Function[T], shards: Sequence[Shard[T]], folder: Path, engine: Engine, progress: Progress) -> None:
    missing = [shard for shard in shards if not (folder / shard.name).exists()]
    if done := len(shards) - len(missing):
        logger.info("%s: %d of %d parts are done already", folder, done, len(shards))
    total = sum(shard.size for shard in shards)
    finished = total - sum(shard.size for shard in missing)
    running: dict[int, int] = {}
    failures: list[Exception] = []

    def report(place: int, done: int, of: int) -> None:
        running[place] = missing[place].size * done // of if of else 0
        progress(finished + sum(running.values()), total)

    progress(finished, total)
    outcomes = engine.run(function, missing, folder, report)
    for place, error in outcomes:
        running.pop(place, None)
        shard = missing[place]
        if error is None and not (folder / shard.name).exists():
            error = ParallelError(
                f"{folder / shard.name}: done by a worker, but not there: the folder has to be on a disk that all "
                "machines share, under the same path"
            )
        if error is None:
            finished += shard.size
            progress(finished + sum(running.values()), total)
            continue
        failures.append(error)
        if is_disk_full(error):
            break
    outcomes.close()
    if failures:
        raise _summary(failures, len(missing))


def _summary(failures: Sequence[Exception], parts: int) -> Exception:
    unexpected = [error for error in failures if not isinstance(error, SamAdaptError | OSError)]
    if unexpected or len(failures) == 1:
        return (unexpected or failures)[0]
    shown = "; ".join(str(error) for error in failures[:_FAILURES_SHOWN])
    more = f"; and {len(failures) - _FAILURES_SHOWN} more" if len(failures) > _FAILURES_SHOWN else ""
    return ParallelError(f"{len(failures)} of {parts} parts failed: {shown}{more}. The others are done, and stay")


def _clean(folder: Path, shards: Sequence[Shard[Any]], settings: Mapping[str, Any] | None, force: bool) -> None:
    """Removes what killed processes left of these parts, and refuses outputs that are not to be taken."""
    names = {shard.name for shard in shards}
    prefixes = tuple(f".{name}." for name in names)
    with output_errors(folder):
        for leftover in folder.iterdir():
            if leftover.name.startswith(prefixes) or (force and leftover.name in names):
                _remove(leftover)
        path = folder / SETTINGS
        made = _read_settings(path)
        there = [shard for shard in shards if (folder / shard.name).exists()]
        if there and not made and settings is not None:
            raise OutputError(f"{there[0].name}: {folder} has it, not made here; choose another output or give --force")
        if made and not any((folder / name).exists() for name in {*names, *made["keys"]}):
            made = {}  # the run that they were of left nothing
        wanted = json_values(settings or {})
        if made and not force and made["settings"] != wanted:
            raise OutputError(f"{folder}: has results of other settings (see {path}); choose another output or --force")
        keys = made["keys"] if made else {}
        for shard in there:
            if keys.get(shard.name, shard.key) != shard.key:
                raise OutputError(
                    f"{folder / shard.name}: was made of another input of this name; choose another output or --force"
                )
        keys |= {shard.name: shard.key for shard in shards}
        write_text(path, json.dumps({"settings": wanted, "keys": keys}, indent=1, sort_keys=True) + "\n")


def _read_settings(path: Path) -> dict[str, Any]:
    """What the outputs of a folder were made with; empty where nothing is known."""
    try:
        made = json.loads(path.read_bytes())
        return {"settings": made.get("settings", made), "keys": dict(made.get("keys", {}))}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
