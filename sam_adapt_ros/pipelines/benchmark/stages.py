"""Work in stages, each with a folder of its own: what is done is kept and checked, what was interrupted goes on.

A stage's folder has a ``manifest.json``: the settings and the inputs that its files depend on, and, once it is done,
its facts and the SHA-256 of each file. Two runs are in one folder at most one after the other; see ``run_stages``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam_adapt_ros.errors import OutputError, StoreError
from sam_adapt_ros.io.atomic_write import remove_temporary
from sam_adapt_ros.io.hashing import hash_file
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.io.lock import locked
from sam_adapt_ros.io.outputs import output_errors, prepare_folder, write_text
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.progress import Progress, Stages, no_stages

logger = logging.getLogger(__name__)

LOCK, MANIFEST = ".lock", "manifest.json"
DAMAGED = "damaged:"
"""Begins the key of the notice that a stage is done again."""
FORMAT = 2
"""Part of every manifest; raise it when what stages compute changes."""


@dataclass(frozen=True)
class Done:
    """A stage that is done.

    files: their SHA-256 by path in the folder. facts: what the stage found, plain values. digest: of the facts and of
    the files but those that are ``exempt``, which stages that take it as input depend on.
    """

    folder: Path
    facts: Mapping[str, Any]
    files: Mapping[str, str]
    exempt: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        files = {name: hashed for name, hashed in sorted(self.files.items()) if name not in self.exempt}
        text = json.dumps([self.facts, files], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


Inputs = Mapping[str, Done]
Make = Callable[[Path, Inputs, Progress], Mapping[str, Any]]
"""``make(folder, inputs, progress)`` leaves the stage's files in the folder and returns its facts. Called again after
an interruption, it goes on with what it finds there. The same settings and inputs give the same facts."""


@dataclass(frozen=True)
class Stage:
    """name: of its folder. title: what people read. settings: all that it depends on besides its inputs, plain values.
    needs: names of earlier stages. scratch: files that only an interrupted stage needs, removed once it is done.
    logs: patterns of files in its folder that are not part of its result. exempt: files that hold the time they were
    made at: a fact tells what else they hold."""

    name: str
    title: str
    make: Make
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    exempt: tuple[str, ...] = ()


def run_stages(
    stages: Sequence[Stage],
    output: Path,
    *,
    skip: Collection[str] = (),
    force: bool = False,
    notices: Notices | None = None,
    show: Stages = no_stages,
) -> dict[str, Done]:
    """Does the stages that are not done yet, in order; returns all that are done, by name.

    Args:
        skip: stages that are not done now. Where an earlier run did one, with the same settings, it serves as input
            all the same; where not, the stages that need it are skipped, too.
        force: stages that were done with other settings are done again; without, they are refused.
        notices: is told what is skipped, and of files that were damaged.
        show: opens a progress display a stage.

    Raises:
        OutputError: the folder cannot be written, another process is at work in it, or a stage was done, or begun,
            with other settings.
    """
    notices = Notices() if notices is None else notices  # empty ones are false
    prepare_folder(output, force=True)
    done: dict[str, Done] = {}
    try:
        with locked(output / LOCK, timeout_s=0):
            with output_errors(output):
                remove_temporary(output.rglob(".*"))
            for stage in stages:
                if lacking := [name for name in stage.needs if name not in done]:
                    notices.add(f"skipped:{stage.name}", f"{stage.name} is skipped: it needs {', '.join(lacking)}")
                elif found := _run(stage, output / stage.name, done, stage.name in skip, force, notices, show):
                    done[stage.name] = found
                else:
                    notices.add(f"skipped:{stage.name}", f"{stage.name} is skipped, as asked for")
    except StoreError as error:
        if error.reason == "locked":
            raise OutputError(
                f"{output}: another process is at work here; wait for it, or choose another output"
            ) from None
        raise
    return done


def _run(
    stage: Stage, folder: Path, done: Inputs, skipped: bool, force: bool, notices: Notices, show: Stages
) -> Done | None:
    """None: skipped, and not done earlier."""
    inputs = {name: done[name] for name in stage.needs}
    depends = json_values({"format": FORMAT, "settings": stage.settings, "inputs": _digests(inputs)})
    begun = _read(folder / MANIFEST)
    if begun and (differing := _differing(begun.get("depends", {}), depends)):
        if skipped:
            return None
        if not force:
            raise OutputError(
                f"{folder}: was made with other settings ({'; '.join(differing)}); choose another output, or give "
                "--force to make it again"
            )
        begun = {}
    if "files" in begun:
        found = Done(folder, begun["facts"], begun["files"], stage.exempt)
        if not (damaged := _damaged(found)):
            logger.info("%s: is done already", stage.name)
            _remove_scratch(stage, folder)
            return found
        notices.add(f"{DAMAGED}{stage.name}", f"{damaged}; {stage.name} is done again")
        begun = {}
    if skipped:
        return None
    return _make(stage, folder, inputs, depends, fresh=not begun, show=show)


def _make(stage: Stage, folder: Path, inputs: Inputs, depends: Any, *, fresh: bool, show: Stages) -> Done:
    """fresh: what is in the folder does not belong to the stage as it is now."""
    with output_errors(folder):
        if fresh and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    if fresh:
        _write(folder / MANIFEST, {"depends": depends})
    start = time.monotonic()
    with show(stage.title) as progress:
        facts = json_values(stage.make(folder, inputs, progress))
    with output_errors(folder):
        files = {name: hash_file(folder / name) for name in _files(folder, (*stage.scratch, *stage.logs))}
    seconds = round(time.monotonic() - start, 1)
    _write(folder / MANIFEST, {"depends": depends, "facts": facts, "files": files, "seconds": seconds})
    _remove_scratch(stage, folder)  # not before: a stage that is killed here would have to begin anew
    return Done(folder, _read(folder / MANIFEST)["facts"], files, stage.exempt)  # in the order that later runs find


def _remove_scratch(stage: Stage, folder: Path) -> None:
    with output_errors(folder):
        for name in stage.scratch:
            (folder / name).unlink(missing_ok=True)


def _digests(inputs: Inputs) -> dict[str, str]:
    return {name: found.digest for name, found in inputs.items()}


def _files(folder: Path, logs: Collection[str]) -> Iterable[str]:
    """Of the stage, as paths in its folder; hidden ones are locks and what a kill left."""
    left_out = {path for pattern in (MANIFEST, *logs) for path in folder.glob(pattern)}
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file() and path not in left_out)
    return [str(path) for path in paths if not any(p.startswith(".") for p in path.parts)]


def _damaged(found: Done) -> str:
    """The first file that is not as it was made; "" when all are."""
    for name, expected in found.files.items():
        path = found.folder / name
        try:
            if hash_file(path) != expected:
                return f"{path}: not as it was made"
        except OSError as error:
            return f"{path}: {error.strerror}"
    return ""


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs in words: ``training.iterations: 30 then, 60 now``."""
    if before.get("format") != now["format"]:
        return ["by another version of this package"]
    flat = [
        {f"{kind}{name}": value for kind in ("settings", "inputs") for name, value in _flat(each.get(kind, {}))}
        for each in (before, now)
    ]
    found = []
    for name in sorted(flat[0].keys() | flat[1].keys()):
        then, new = (each.get(name) for each in flat)
        if then != new:
            kind, _, short = name.partition(".")
            found.append(f"of another {short}" if kind == "inputs" else f"{short}: {then!r} then, {new!r} now")
    return found


def _flat(values: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(values, Mapping) and values:
        return [pair for key, value in values.items() for pair in _flat(value, f"{prefix}.{key}")]
    return [(prefix, values)]


def _read(path: Path) -> dict[str, Any]:
    """A manifest; empty where there is none that can be read: its stage was not begun."""
    try:
        found = json.loads(path.read_bytes())
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def _write(path: Path, manifest: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
