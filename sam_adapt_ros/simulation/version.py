"""The simulator's version: a hash that stands with every figure measured in the town, and names its cached drives."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path

from sam_adapt_ros.io.hashing import hash_sources
from sam_adapt_ros.simulation.domains import DOMAINS, Domain

_SEED = 0
"""Of the definitions that depend on the drive's seed."""


@cache
def domains_hash() -> str:
    """SHA-256, 64 hexadecimal digits, of every domain's resolved definition and of the simulator's sources.

    Figures with the same hash are of the same domains. Sources stand for what they render, since the last bits of a
    rendered frame differ from one machine's libraries to another's.
    """
    definitions = {name: asdict(Domain.parse(name, _SEED)) for name in DOMAINS}
    return hash_sources([_folder()], json.dumps(definitions, sort_keys=True))


def _folder() -> Path:
    return Path(__file__).parent
