"""The command line, ``sam-adapt``: a line of glue a command. Rooms are imported where used: torch is slow to load."""

from sam_adapt_ros.cli import data, live, measuring, models, offline, weights
from sam_adapt_ros.cli.app import app, main, parse_overrides

__all__ = ["app", "data", "live", "main", "measuring", "models", "offline", "parse_overrides", "weights"]
