"""Scalars mean what ROS 2's reader takes them for; ``test/nodes/test_parameter_files.py`` compares with that reader."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from sam_adapt_ros.config.ros_yaml import dump_yaml, plain_scalar, read_yaml
from sam_adapt_ros.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("on", True), ("N", False), ("tRue", "tRue"), ("1e3", 1000.0), ("08", 8.0), ("010", 8), ("0x10", 16)),
        *(("1_000", "1_000"), ("12:30", "12:30"), ("2020-01-01", "2020-01-01"), ("~", "~"), ("null", "null")),
        *(("-.inf", -math.inf), ("infinity", math.inf), ("1e400", "1e400"), ("9223372036854775808", 2.0**63)),
        *((".", "."), ("1.", 1.0), (".5", 0.5), ("0b1", "0b1"), ("-0", 0), ("1e", "1e"), ("+5", 5)),
    ],
)
def test_a_plain_scalar_is_what_ros_takes_it_for(text: str, value: object) -> None:
    assert plain_scalar(text) == value
    assert type(plain_scalar(text)) is type(value)


def read(tmp_path: Path, text: str) -> dict:
    (tmp_path / "file.yaml").write_text(text, encoding="utf-8")
    return read_yaml(tmp_path / "file.yaml")


def test_sections_that_come_twice_are_joined(tmp_path: Path) -> None:
    assert read(tmp_path, "a: {x: 1}\na: {y: 2}") == {"a": {"x": 1, "y": 2}}
    assert read(tmp_path, "a: {x: 1}\n---\na: {x: 2}\nb: []") == {"a": {"x": 2}, "b": []}
    assert read(tmp_path, "\ufeff1: {true: 'yes', none: }") == {"1": {"true": "yes", "none": None}}
    assert read(tmp_path, "a: &a {x: 1}\nb: {<<: *a, y: 2}") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}}


@pytest.mark.parametrize("text", ["- a", "a: [", "[1]: 2", "a: !!python/name:os.system", "a: b: c", "x", "a: \x00"])
def test_what_is_no_mapping_is_one_line_with_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"file\.yaml: ") as raised:
        read(tmp_path, text)
    assert "\n" not in str(raised.value)


def test_bytes_and_folders_are_one_line_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_bytes(b"a: \xff")
    for path in (tmp_path / "file.yaml", tmp_path):
        with pytest.raises(ConfigError, match=str(path)):
            read_yaml(path)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    texts = ["on", "1e3", "12:30", "", "#x", "a: b", "x" * 200, "two\nlines", "~", "ä", "'", '"', "[]", "/**"]
    data = {"s": {text or "empty": text for text in texts}, "n": [1e-5, math.inf, 3, -2.5], "b": [True], "i": 1}
    again = read(tmp_path, dump_yaml(data))
    assert again == data
    assert yaml.safe_load(dump_yaml({"s": data["s"]})) == {"s": data["s"]}
    assert all(isinstance(value, float) for value in again["n"])
    assert read(tmp_path, dump_yaml({"none": None, "empty": []})) == {"empty": [""]}
