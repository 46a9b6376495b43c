"""The command line, ``sam-adapt``: a line of glue a command. The library is imported where it is used: torch is slow
to load."""

from sam_adapt_ros.cli import (
    bags,
    bench,
    bench_real,
    bench_town,
    fleet,
    live,
    models,
    offline,
    parameters,
    store,
    view,
)
from sam_adapt_ros.cli.app import app, main
from sam_adapt_ros.cli.benchmark import benchmark as benchmark

__all__ = [
    "app",
    "bags",
    "bench",
    "bench_real",
    "bench_town",
    "fleet",
    "live",
    "main",
    "models",
    "offline",
    "parameters",
    "store",
    "view",
]
