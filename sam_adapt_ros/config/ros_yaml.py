"""YAML as ROS 2's own reader of parameter files (``rcl_yaml_param_parser``) understands it.

That reader and PyYAML take some scalars for different things: ``on``, ``y``, ``1e3``, ``1_000``, ``12:30``, ``010`` or
a date. A parameter has to be the same wherever it is given, so configuration files and ``--set`` are read here.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from sam_adapt_ros.errors import ConfigError

_TRUE = {"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"}
_FALSE = {"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"}
_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|\.?inf|\.?nan|infinity)", re.ASCII | re.IGNORECASE)
_PLAIN = "!plain"


def read_yaml(path: Path) -> dict[str, Any]:
    """The content of a YAML file that holds a mapping; of several documents, later ones win. An empty value is None.

    Raises ConfigError that names the file.
    """
    try:
        documents = list(yaml.load_all(path.read_text(encoding="utf-8-sig"), Loader=_Loader))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    data: dict[str, Any] = {}
    for document in documents:
        if not isinstance(document, dict | None):
            raise ConfigError(f"{path}: a mapping expected, got {type(document).__name__}")
        _merge(data, document or {})
    return data


def parse_yaml(text: str) -> Any:
    """What a YAML text means. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)


def dump_yaml(data: dict[str, Any]) -> str:
    """YAML that ROS 2's reader, too, reads back as ``data``, but for lists.

    A list of integers and floats becomes one of floats, and an empty one holds an empty string, ``['']``: ROS has
    neither. None is left out.
    """
    return yaml.dump(_for_ros(data), Dumper=_Dumper, allow_unicode=True, width=math.inf, sort_keys=False)


def plain_scalar(text: str) -> bool | int | float | str:
    """What a scalar without quotes means."""
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        digits = text.lstrip("+-")
        octal = digits.isdigit() and digits.startswith("0")
        number = int(text, 8 if octal else 16 if digits[:2] in ("0x", "0X") else 10)
        return number if -(2**63) <= number < 2**63 else float(number)
    if _FLOAT.fullmatch(text):
        value = float(re.sub(r"\.(inf|nan)", r"\1", text, flags=re.IGNORECASE))
        digits_only = text.strip("+-.").lower()
        overflow = math.isinf(value) and not digits_only.startswith("inf")
        return text if overflow else value
    return text


class _Loader(yaml.SafeLoader):
    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return "tag:yaml.org,2002:merge" if value == "<<" else _PLAIN
        return super().resolve(kind, value, (False, True))

    def construct_plain(self, node: yaml.ScalarNode) -> bool | int | float | str | None:
        return plain_scalar(node.value) if node.value else None

    def construct_parameters(self, node: yaml.MappingNode) -> dict[str, Any]:
        """Keys are text; a key that comes again adds to a section, and replaces a value."""
        self.flatten_mapping(node)
        data: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a name expected as a key", key.start_mark)
            _merge(data, {key.value: self.construct_object(value, deep=True)})
        return data


_Loader.add_constructor(_PLAIN, _Loader.construct_plain)
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_parameters)


class _Dumper(yaml.SafeDumper):
    """Quotes all text, which is text then for every reader."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.Node:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style='"')


_Dumper.add_representer(str, _Dumper.represent_text)


def _merge(data: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(data.get(key), dict):
            _merge(data[key], value)
        else:
            data[key] = value


def _for_ros(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _for_ros(each) for key, each in value.items() if each is not None}
    if not isinstance(value, list):
        return value
    if {type(each) for each in value} == {int, float}:
        return [float(each) for each in value]
    return value or [""]
