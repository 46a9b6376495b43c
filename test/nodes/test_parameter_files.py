"""Our reader of parameter files and ROS 2's give a node the same parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import rclpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rclpy.context import Context
from rclpy.node import Node

from sam_adapt_ros.config import Config, ParameterFile
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.nodes.parameter_files import normalized, parameter_text, readable_parameter_files

NAMESPACES = ("/", "/car", "/fleet/car")
PATTERNS = ["/**", "'**'", "/*", "/segmenter", "segmenter", "/car/segmenter", "/*/segmenter", "/**/segmenter", "/car/*"]
PATTERNS += [
    "/car/**",
    "/**/car/**",
    "/fleet/*/segmenter",
    "/fleet/car/segmenter",
    "/adapter",
    "'*/*'",
    "/car/**/segmenter",
]
NAMES = ["a", "b", "a.b", "c.d.e", "1"]
SCALARS = [
    "on",
    "n",
    "tRue",
    "1e3",
    "08",
    "010",
    "-010",
    "0x10",
    "1_000",
    "12:30",
    "2020-01-01",
    "~",
    "null",
    "-.inf",
    "'1'",
]
SCALARS += [
    "infinity",
    "1e400",
    "9223372036854775808",
    "-9223372036854775808",
    ".",
    "1.",
    ".5",
    "0b1",
    "-0",
    "1e",
    "''",
    "=",
]
SCALARS += ["[1, 2]", "[on, n]", "[a, '1']", "[.5, 1e3]", "+5", "'~'", '"a\\nb"', "/points", "!!str 5"]


def ros_reads(file: Path, namespace: str) -> dict[str, Any]:
    """What rclpy gives the segmenter."""
    context = Context()
    rclpy.init(args=["--ros-args", "--params-file", str(file), "-r", f"__ns:={namespace}"], context=context)
    node = Node(
        "segmenter",
        context=context,
        automatically_declare_parameters_from_overrides=True,
        start_parameter_services=False,
    )
    try:
        found = {name: parameter.value for name, parameter in node.get_parameters_by_prefix("").items()}
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)
    own = ("use_sim_time", "start_type_description_service")
    return {
        name: value if isinstance(value, str | bool | int | float) else list(value)
        for name, value in found.items()
        if name not in own
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    # ROS mixes up values of different types for one parameter in one section: each comes once.
    st.lists(
        st.tuples(st.sampled_from(PATTERNS), st.sampled_from(NAMES), st.sampled_from(SCALARS)),
        max_size=6,
        unique_by=lambda entry: entry[:2],
    ),
    st.sampled_from(NAMESPACES),
)
def test_a_node_gets_what_ros_gives_it(tmp_path: Path, entries: list[tuple[str, str, str]], namespace: str) -> None:
    file, ours = tmp_path / "file.yaml", tmp_path / "ours.yaml"
    file.write_text("".join(f"{pattern}:\n  ros__parameters:\n    {n}: {v}\n" for pattern, n, v in entries))
    expected = ros_reads(file, namespace)
    read = ParameterFile.read(file).of(f"{namespace.rstrip('/')}/segmenter") or {}
    assert repr(dict(sorted(read.items()))) == repr(dict(sorted(expected.items())))
    ours.write_text(normalized(file))
    assert repr(sorted(ros_reads(ours, namespace).items())) == repr(sorted(expected.items()))


@pytest.mark.parametrize(
    "text",
    [
        "/**: {ros__parameters: {training: {bags: []}, masks.regions.scales: [1, 2.5]}}",
        "/**: {ros__parameters: {adaptation: , training: {}, masks: {regions: {scales: [1.0, 2.5]}}}}\n/segmenter:\n",
        "/**: &a {ros__parameters: {masks.regions.scales: [1, 2.5]}}\n/other: *a",
        "masks: {regions: {scales: [1, 2.5]}}",
        "\ufeff/other: {ros__parameters: {x: , y: []}}\n/*: {ros__parameters: {masks.regions.scales: [1.0, 2.5]}}",
    ],
)
def test_what_ros_would_refuse_loads(tmp_path: Path, text: str) -> None:
    file, ours = tmp_path / "file.yaml", tmp_path / "ours.yaml"
    file.write_text(text, encoding="utf-8")
    ours.write_text(normalized(file))
    expected = Config.from_flat({"masks.regions.scales": [1.0, 2.5]})
    assert Config.from_flat(ros_reads(ours, "/")) == Config.load(file) == expected


def test_a_configuration_as_a_parameter_file(tmp_path: Path) -> None:
    """With what YAML's readers take for something else."""
    file = tmp_path / "file.yaml"
    values = {
        "taxonomy": "1e3",
        "lidar.topic": "on",
        "training.bags": ["12:30", "~"],
        "masks.regions.scales": [1.0, 2e-7],
    }
    config = Config.from_flat({**values, "cameras.front.image": "/image", "cameras.front.time_offset": 1e-5})
    file.write_text(parameter_text(config, {"use_sim_time": True}), encoding="utf-8")
    assert Config.load(file) == Config.from_flat(ros_reads(file, "/car")) == config
    assert ParameterFile.read(file).parameters("adapter")["use_sim_time"] is True


def test_files_on_the_command_line_are_replaced(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text("taxonomy: 'on'")
    given = ["segmenter", "--ros-args", "--params-file", str(file), "-p", "a:=1", "--params-file"]
    with readable_parameter_files(given) as changed:
        assert ros_reads(Path(changed[3]), "/") == {"taxonomy": "on"}
        changed[3] = str(file)
        assert changed == given
    for text in ("taxonomy:", "/**: {ros__parameters: {cameras: {front: {image: }}}}"):
        file.write_text(text)
        with (
            pytest.raises(ConfigError, match=r"file\.yaml: .*: a value expected, got nothing"),
            readable_parameter_files(given),
        ):
            pass
