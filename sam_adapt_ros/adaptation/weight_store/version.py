"""A version in the weight store: its name, and what is recorded beside it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sam_adapt_ros.errors import StoreError

WEIGHTS_SUFFIX = ".safetensors"
RECORD_SUFFIX = ".json"
_NAME = re.compile(r"v(\d{4,})-([0-9a-f]{8})\.safetensors")


@dataclass(frozen=True)
class Record:
    """Where weights come from and why they were taken or not. Everything in it is what JSON can hold.

    parent: name of the version they were made from, "" for the source. recipe: what was run. frames: how many were
    learned from. gate: the gate's numbers. created: ISO 8601, UTC; the store fills it in, and the last two:
    sha256 of the weights file, and its size in bytes.
    """

    parent: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    frames: int = 0
    gate: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    sha256: str = ""
    size: int = 0


@dataclass(frozen=True)
class Version:
    """Immutable weights in a store. name: ``v<number>-<first 8 digits of the weights' version>.safetensors``."""

    name: str
    path: Path
    record: Record = field(compare=False)

    @property
    def number(self) -> int:
        number = parse_name(self.name)
        assert number is not None
        return number


def name_of(number: int, weights_version: str) -> str:
    return f"v{number:04d}-{weights_version[:8]}{WEIGHTS_SUFFIX}"


def parse_name(name: str) -> int | None:
    """The number of a version by its file name; None when it is not one."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def hash_of(name: str) -> str:
    """The first digits of the weights' content hash in a version's file name."""
    return Path(name).stem.partition("-")[2]


def encode_record(record: Record) -> bytes:
    return json.dumps(_plain(record.__dict__), indent=1, allow_nan=False).encode()


def read_record(weights_path: Path) -> Record:
    """The record beside a weights file. Raises StoreError that names the file and what is wrong with it."""
    path = weights_path.with_suffix(RECORD_SUFFIX)
    try:
        data = json.loads(path.read_bytes())
        names = [entry.name for entry in fields(Record)]
        record = Record(**{name: data[name] for name in names})
    except FileNotFoundError:
        raise StoreError("damaged", f"{path}: missing") from None
    except OSError as error:
        raise StoreError("io", f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError("damaged", f"{path}: not a version's record ({type(error).__name__}: {error})") from None
    return record


def _plain(value: Any) -> Any:
    """With what JSON cannot hold made into what it can: arrays' scalars into numbers, not-a-number into null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
