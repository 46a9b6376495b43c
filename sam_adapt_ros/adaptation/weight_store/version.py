"""A version in the weight store: its name, and the record that is stored with it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sam_adapt_ros.errors import StoreError, WeightsError
from sam_adapt_ros.io.hashing import hash_file
from sam_adapt_ros.io.json_values import json_values

WEIGHTS_SUFFIX = ".safetensors"
RECORD_SUFFIX = ".json"
_NAME = re.compile(r"v(\d{4,})-([0-9a-f]{8})\.safetensors")


@dataclass(frozen=True)
class Record:
    """Where weights come from and why they were taken. The store fills in the last three fields.

    parent: name of the version they were made from, "" for the source model.
    recipe: the configuration they were trained with. frames: number of frames they were trained on.
    gate: the promotion gate's numbers.
    created: ISO 8601, UTC. sha256: of the weights file. size: of the weights file, bytes.
    """

    parent: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    frames: int = 0
    gate: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    sha256: str = ""
    size: int = 0

    def encode(self) -> bytes:
        """As a JSON file; what JSON cannot hold becomes null or text."""
        return json.dumps(json_values(self.__dict__), indent=1, allow_nan=False).encode()


@dataclass(frozen=True)
class Version:
    """Immutable weights in a store. name: ``v<number>-<first 8 digits of the weights' hash>.safetensors``."""

    name: str
    path: Path
    record: Record = field(compare=False)


def version_name(number: int, weights_hash: str) -> str:
    """The file name of a version."""
    return f"v{number:04d}-{weights_hash[:8]}{WEIGHTS_SUFFIX}"


def version_number(name: str) -> int | None:
    """The number in a version's file name; None when it is not the name of a version."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def version_hash(name: str) -> str:
    """The first 8 digits of the weights' hash in a version's file name."""
    return Path(name).stem.partition("-")[2]


def read_record(weights_path: Path) -> Record:
    """The record that is stored with a weights file. Raises StoreError that names the record's file and its fault."""
    path = weights_path.with_suffix(RECORD_SUFFIX)
    try:
        data = json.loads(path.read_bytes())
        return Record(**{entry.name: data[entry.name] for entry in fields(Record)})
    except FileNotFoundError:
        raise StoreError("damaged", f"{path}: the record of {weights_path.name} is missing") from None
    except OSError as error:
        raise StoreError("io", f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError("damaged", f"{path}: not a version's record ({type(error).__name__}: {error})") from None


def find_damage(path: Path, deep: bool = False) -> str:
    """What is wrong with a version's files, "" when nothing is: the weights are compared with their record.

    deep: also loads the tensors and compares the file's name with their hash.
    """
    try:
        record = read_record(path)
        size, sha256 = path.stat().st_size, hash_file(path)
    except StoreError as error:
        return str(error)
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror}"
    if size != record.size:
        return f"{path}: {record.size} bytes expected, got {size}"
    if sha256 != record.sha256:
        return f"{path}: the content is damaged (it does not match the recorded SHA-256)"
    if deep:
        from sam_adapt_ros.segmentation.weights import load

        try:
            weights_hash = load(path).version[:8]
        except WeightsError as error:
            return str(error)
        if weights_hash != version_hash(path.name):
            return f"{path}: the name does not match the content, whose hash begins with {weights_hash}"
    return ""
