"""Runs the benchmarks and writes ``out/bench.json``: ``python -m sam_adapt_ros.benchmarks [--quick] [ROOM ...]``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import platform
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sam_adapt_ros import benchmarks


def main() -> None:
    rooms = sorted(
        module.name
        for module in pkgutil.iter_modules(benchmarks.__path__)
        if not module.name.startswith("_") and hasattr(_load(module.name), "run")
    )
    parser = argparse.ArgumentParser(description="Measures the figures of docs/results.md.")
    parser.add_argument(
        "rooms", nargs="*", metavar="ROOM", help=f"which of: {', '.join(rooms)}; all when none is named"
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--output", type=Path, default=Path("out/bench.json"))
    arguments = parser.parse_args()
    if unknown := set(arguments.rooms) - set(rooms):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(rooms)}")
    console = Console()
    results: dict[str, list[dict]] = {}
    if arguments.output.exists():  # figures of other rooms, measured earlier, stay
        results = json.loads(arguments.output.read_text(encoding="utf-8"))["figures"]
    for room in arguments.rooms or rooms:
        with console.status(f"measuring {room} ..."):
            figures = _load(room).run(quick=arguments.quick)
        table = Table("figure", "value", "unit", "target", "note", title=room, title_justify="left")
        for figure in figures:
            table.add_row(figure.name, f"{figure.value:.4g}", figure.unit, figure.target, figure.note)
        console.print(table)
        results[room] = [asdict(figure) for figure in figures]
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
        arguments.output.write_text(
            json.dumps({"machine": machine, "figures": results}, indent=2) + "\n", encoding="utf-8"
        )
    console.print(f"written to {arguments.output}")


def _load(room: str):
    return importlib.import_module(f"sam_adapt_ros.benchmarks.{room}")


if __name__ == "__main__":
    main()
