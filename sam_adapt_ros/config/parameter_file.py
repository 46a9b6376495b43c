"""ROS 2 parameter files: which of their sections are for which node, by the rules of ROS's client library.

A section's name is a node's full name. ``*`` stands for one name in it and ``**`` for any number of them. Of the
sections that fit a node, those further down in the file win. A file without ``ros__parameters`` is for all nodes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sam_adapt_ros.config.ros_yaml import dump_yaml, read_yaml
from sam_adapt_ros.errors import ConfigError

logger = logging.getLogger(__name__)

SEGMENTER: Final = "segmenter"
ADAPTER: Final = "adapter"
NODES: Final = (SEGMENTER, ADAPTER)
_PARAMETERS = "ros__parameters"
_OF_ROS = ("use_sim_time", "start_type_description_service", "qos_overrides.")
_LEARNING = ("masks", "pseudo_labels", "training", "fabric", "adaptation")
"""The sections of the schema whose values are the adapter's where the two nodes' differ, and nobody asks for one."""


def is_of_ros(name: str) -> bool:
    """Whether a parameter is the client library's own, which every node has."""
    return name.startswith(_OF_ROS)


@dataclass(frozen=True)
class ParameterFile:
    """sections: node name or pattern, such as ``/**`` -> dotted name -> value, None where nothing is given; in the
    file's order."""

    path: Path
    sections: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> ParameterFile:
        """Raises ConfigError that names the file and what does not fit."""
        data = read_yaml(path)
        if not (_has_sections(data) or any(key.startswith("/") for key in data)):
            return cls(path, {"/**": flatten(data)})
        sections: dict[str, dict[str, Any]] = {}
        for names, values in _sections(data, path):
            # Not "/segmenter" for "segmenter": ROS takes them for two sections, of which the later wins.
            pattern = re.sub("/+", "/", "/".join(names))
            if not re.fullmatch(r"/?(\w+|\*\*?)(/(\w+|\*\*?))*", pattern, re.ASCII):
                raise ConfigError(f"{path}: {pattern}: a node's name expected, in which * and ** stand for names")
            sections.setdefault(pattern, {}).update(values)
        return cls(path, sections)

    def of(self, node: str) -> dict[str, Any] | None:
        """Dotted names -> values that ROS gives the node of that full name; None where no section is for it."""
        fitting = [values for pattern, values in self.sections.items() if matches(pattern, node)]
        return {name: value for values in fitting for name, value in values.items()} if fitting else None

    def parameters(self, node: str = "", namespace: str = "") -> dict[str, Any]:
        """Dotted names -> values that a node is given; where it is given none, those of the other of the two.

        Args:
            node: ``segmenter`` or ``adapter``; "": both of them, for what does the work of both: the adapter's values
                for learning, the segmenter's for the rest.
            namespace: of the node. Of both, it need not be given if the file is for one namespace.
        Raises:
            ConfigError: no section is for the nodes.
        """
        if not node and not namespace:
            namespace = self._only_namespace()
        namespace = namespace.strip("/")
        given = {each: self.of(f"/{namespace}/{each}" if namespace else f"/{each}") for each in NODES}
        found = [each for each in NODES if given[each] is not None]
        if not self.sections:
            return {}
        prefix = f"/{namespace}/" if namespace else "/"
        if not found:
            raise ConfigError(
                f"{self.path}: parameters of {prefix}{SEGMENTER}, {prefix}{ADAPTER} or /** expected, "
                f"got those of {', '.join(self.sections)}"
            )
        others = self._namespaces() - {namespace}
        if namespace not in self._namespaces() and others:
            logger.warning(
                "%s: parameters of nodes in namespace %s are not used: the nodes are %s and %s",
                self.path, ", ".join(f"/{name}" for name in sorted(others)), prefix + SEGMENTER, prefix + ADAPTER,
            )  # fmt: skip
        if node and node not in found:
            logger.info("%s: no parameters of %s: it gets those of %s", self.path, prefix + node, prefix + found[0])
        if not node and len(found) == 2:
            return self._of_both(given[SEGMENTER] or {}, given[ADAPTER] or {})
        return given[node if node in found else found[0]] or {}

    def _of_both(self, segmenter: dict[str, Any], adapter: dict[str, Any]) -> dict[str, Any]:
        merged = adapter | segmenter
        merged |= {name: value for name, value in adapter.items() if name.split(".")[0] in _LEARNING}
        differing = sorted(name for name in adapter.keys() & segmenter.keys() if adapter[name] != segmenter[name])
        if differing:
            used = ", ".join(f"{name} ({merged[name]!r})" for name in differing)
            logger.warning("%s: segmenter and adapter differ; used here: %s", self.path, used)
        return merged

    def _namespaces(self) -> set[str]:
        """Those in which sections name one of the nodes; of wildcards, one that fits."""
        names = (_names(pattern) for pattern in self.sections if _names(pattern)[-1] in NODES)
        return {"/".join(part.replace("*", "any") for part in name[:-1] if part != "**") for name in names}

    def _only_namespace(self) -> str:
        namespaces = self._namespaces()
        if not namespaces or "" in namespaces:
            return ""
        if len(namespaces) > 1:
            names = ", ".join(f"/{name}" for name in sorted(namespaces))
            raise ConfigError(f"{self.path}: nodes in one namespace expected, got those in {names}")
        return namespaces.pop()


def matches(pattern: str, node: str) -> bool:
    """Whether a section's name is that of a node, given by its full name, or stands for it."""
    wildcards = {"*": r"/\w+", "**": r"(/\w+)*"}
    expression = "".join(wildcards.get(name, f"/{name}") for name in _names(pattern))
    return re.fullmatch(expression, node, re.ASCII) is not None


def _names(pattern: str) -> list[str]:
    return pattern.lstrip("/").split("/")


def dump(parameters: dict[str, Any], pattern: str = "/**") -> str:
    """A parameter file. parameters: dotted names -> values."""
    return dump_yaml({pattern: {_PARAMETERS: parameters}})


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings -> dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def _has_sections(data: dict[str, Any]) -> bool:
    return any(key == _PARAMETERS or (isinstance(value, dict) and _has_sections(value)) for key, value in data.items())


def _sections(data: dict[str, Any], path: Path, names: tuple[str, ...] = ()) -> Iterator[tuple[list[str], dict]]:
    for key, value in data.items():
        where = f"{path}: {'/'.join([*names, key])}"
        if key == _PARAMETERS:
            if not names or not isinstance(value, dict | None):
                raise ConfigError(f"{where}: parameters below a node's name expected, got {value!r}")
            yield list(names), flatten(value or {})
        elif isinstance(value, dict):
            yield from _sections(value, path, (*names, key))
        elif value is not None:
            raise ConfigError(f"{where}: a value outside of {_PARAMETERS}")
