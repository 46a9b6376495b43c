"""The schema's parameters with their descriptions, for the parameter reference and the nodes' parameter descriptors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from sam_adapt_ros.config.root import Config
from sam_adapt_ros.config.section import Section
from sam_adapt_ros.config.segmentation import ArchitectureConfig
from sam_adapt_ros.errors import ConfigError

NAME = "<name>"
"""Stands for a name that users choose: ``cameras.<name>.image``."""

_TYPES = {"boolean": "bool", "integer": "int", "number": "float", "string": "str", "object": "mapping"}
_HEADER = """# Parameters

Generated from the schema in `sam_adapt_ros/config` by `make docs`; edit the descriptions there.

ROS parameters of the nodes, YAML files (ROS parameter files or plain ones) and `--set` on the command line share these
names. `ros2 param describe /segmenter <parameter>` shows the same text. Units are in brackets. Presets for known
vehicles are `config/*.yaml`; recipes, `config/recipes/*.yaml`, override how the model learns.

A name such as `town` is the package's file, whatever the working folder holds; what has a slash or a suffix
(`./town.yaml`) is a path. `~` is the home folder; relative paths are relative to the working folder.
"""
_ARCHITECTURE = """
## Architecture files

Not parameters of the nodes, but the content of `config/architectures/*.yaml`, one of which `training.architecture`
names. Every weights file records its own.
"""


@dataclass(frozen=True)
class Parameter:
    """name: dotted. type: ``float``, ``list of str``, ... default: None where a value is required. range: in words, ""
    where all values of the type are allowed. limits: the same of a number with a least and a greatest value."""

    name: str
    type: str
    default: Any
    description: str
    range: str
    limits: tuple[float, float] | None


@dataclass(frozen=True)
class Group:
    """The parameters that a section holds itself. name: dotted, "" for the top level. description: of the section."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]


def groups(section: type[Section] = Config) -> Iterator[Group]:
    """All sections from the given one on, in the order of the schema."""
    schema = section.model_json_schema()
    yield from _groups(schema, schema.get("$defs", {}), "", {})


def find_parameter(name: str) -> Parameter:
    """The parameter of a dotted name, such as ``cameras.CAM_FRONT.image``. Raises KeyError for an unknown one."""
    known, parts = _by_name(), name.split(".")
    chosen = (".".join([*parts[:place], NAME, *parts[place + 1 :]]) for place in range(1, len(parts) - 1))
    return known[next((each for each in (name, *chosen) if each in known), name)]


@cache
def _by_name() -> dict[str, Parameter]:
    return {parameter.name: parameter for group in groups() for parameter in group.parameters}


def markdown() -> str:
    """The parameter reference: a table a section."""
    parts = [_HEADER]
    for group in groups():
        if group.parameters:
            title = f"`{group.name}`" if group.name else "Top level"
            parts += [f"\n## {title}\n\n{group.description}\n", _table(group)]
    return "".join([*parts, _ARCHITECTURE, *map(_table, groups(ArchitectureConfig))])


def check(path: Path) -> None:
    """Raises ConfigError when the file is not the parameter reference of this schema."""
    try:
        found = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; `make docs` writes it") from None
    for number, (is_there, expected) in enumerate(zip_longest(found.splitlines(), markdown().splitlines()), 1):
        if is_there != expected:
            raise ConfigError(
                f"{path}:{number} does not match the schema; `make docs` regenerates it\n"
                f"  expected: {expected or 'the end of the file'}\n  got: {is_there or 'the end of the file'}"
            )


def _groups(schema: dict[str, Any], sections: dict[str, Any], name: str, defaults: dict[str, Any]) -> Iterator[Group]:
    prefix = f"{name}." if name else ""
    own: list[Parameter] = []
    below: list[tuple[str, str, dict[str, Any]]] = []
    for field, spec in schema["properties"].items():
        default = defaults.get(field, spec.get("default"))
        if "$ref" in spec:
            below.append((spec["$ref"], f"{prefix}{field}", default))
        elif isinstance(spec.get("additionalProperties"), dict):
            below.append((spec["additionalProperties"]["$ref"], f"{prefix}{field}.{NAME}", {}))
        else:
            own.append(_parameter(f"{prefix}{field}", spec, default))
    description = " ".join(schema["description"].split()).replace("``", "`")
    yield Group(name, description, tuple(own))
    for reference, inner, values in below:
        yield from _groups(sections[reference.rpartition("/")[2]], sections, inner, values)


def _parameter(name: str, spec: dict[str, Any], default: Any) -> Parameter:
    items = spec.get("items", spec)
    many = "items" in spec
    limits = None
    if {"minimum", "maximum"} <= items.keys() and not many:
        limits = (items["minimum"], items["maximum"])
    return Parameter(
        name,
        ("list of " if many else "") + _TYPES[items["type"]],
        default,
        spec.get("description", ""),
        f"each {_range(items)}" if many and _range(items) else _range(items),
        limits,
    )


def _range(spec: dict[str, Any]) -> str:
    if "enum" in spec:
        *others, last = map(str, spec["enum"])
        return f"{', '.join(others)} or {last}"
    if {"minimum", "maximum"} <= spec.keys():
        return f"{spec['minimum']:g} to {spec['maximum']:g}"
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "more than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
    }
    return ", ".join(f"{word} {spec[key]:g}" for key, word in words.items() if key in spec)


def _table(group: Group) -> str:
    lines = ["", "| parameter | type | default | range | meaning |", "|---|---|---|---|---|"]
    for each in group.parameters:
        name, meaning = each.name.rpartition(".")[2], each.description.replace("<", "\\<")
        lines.append(f"| `{name}` | {each.type} | {_shown(each.default)} | {each.range} | {meaning} |")
    return "\n".join(lines) + "\n"


def _shown(default: Any) -> str:
    """A default value in YAML's notation."""
    if default is None:
        return "required"
    return f"`{json.dumps(default)}`" if default not in ("", [], {}) else "empty"
