"""Which sections of a ROS 2 parameter file are for the segmenter, the adapter, and what does the work of both."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sam_adapt_ros.config import Config, ParameterFile
from sam_adapt_ros.config.parameter_file import dump
from sam_adapt_ros.errors import ConfigError


def given(tmp_path: Path, text: str, node: str = "", namespace: str = "") -> dict:
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    return ParameterFile.read(tmp_path / "mine.yaml").parameters(node, namespace)


def section(name: str, **values: object) -> str:
    return dump(values, name)


def test_later_sections_win_as_in_ros(tmp_path: Path) -> None:
    one, two = section("/segmenter", a=1), section("/**", a=2, b=2)
    assert given(tmp_path, one + two, "segmenter") == {"a": 2, "b": 2}
    assert given(tmp_path, two + one, "segmenter") == {"a": 1, "b": 2}
    assert given(tmp_path, two + one, "adapter") == {"a": 2, "b": 2}
    assert given(tmp_path, "/**: {ros__parameters: {a.b: 1, a: {b: 2, c: 3}}}", "adapter") == {"a.b": 2, "a.c": 3}


@pytest.mark.parametrize(
    ("name", "namespaces"),
    [
        ("/segmenter", {""}),
        ("segmenter", {""}),
        ("'**'", {"", "car", "fleet/car"}),
        ("/**/segmenter", {"", "car", "fleet/car"}),
        ("'*/segmenter'", {"car"}),
        ("/*", {""}),
        ("/car/*", {"car"}),
        ("/**/car/**", {"car", "fleet/car"}),
        ("/car/segmenter", {"car"}),
        ("/fleet: {car", {"fleet/car"}),
    ],
)
def test_wildcards_and_namespaces(tmp_path: Path, name: str, namespaces: set[str]) -> None:
    if "{" in name:
        text = f"{name}: {{segmenter: {{ros__parameters: {{a: 1}}}}}}}}"
    else:
        text = f"{name}: {{ros__parameters: {{a: 1}}}}"
    text += "\n/**/adapter: {ros__parameters: {b: 1}}"
    found = {
        namespace
        for namespace in ("", "car", "fleet/car")
        if "a" in given(tmp_path, text, "segmenter", f"/{namespace}/")
    }
    assert found == namespaces


def test_a_node_without_parameters_gets_those_of_the_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """So a dump of one node's parameters starts both."""
    caplog.set_level(logging.INFO)
    assert given(tmp_path, section("/car/segmenter", a=1), "adapter", "car") == {"a": 1}
    assert "no parameters of /car/adapter: it gets those of /car/segmenter" in caplog.text
    caplog.clear()
    assert given(tmp_path, section("/segmenter", a=1) + "/adapter: {ros__parameters: }", "adapter") == {}
    assert "it gets those of" not in caplog.text


def test_both_nodes_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The segmenter's topic is what is read offline, and the adapter's buffer is what is learned with."""
    text = section("/other", rate=2) + section("/**", **{"lidar.topic": "/a", "masks.generator": "sam"})
    text += section("/segmenter", **{"lidar.topic": "/b", "masks.generator": "regions"})
    text += section("/adapter", **{"segmenter.threads": 1, "masks.generator": "segments"})
    assert given(tmp_path, text) == {"lidar.topic": "/b", "masks.generator": "segments", "segmenter.threads": 1}
    assert "differ; used here: lidar.topic ('/b'), masks.generator ('segments')" in caplog.text


@pytest.mark.parametrize("name", ["/car/segmenter", "/**/car/segmenter", "/*/segmenter"])
def test_without_a_namespace_a_file_of_one_vehicle_is_that_vehicles(tmp_path: Path, name: str) -> None:
    assert given(tmp_path, section("/**", a=1) + section(name, a=2)) == {"a": 2}


def test_sections_of_another_namespace_are_not_used_silently(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cars = section("/car1/segmenter", a=1) + section("/car2/segmenter", a=2)
    with pytest.raises(ConfigError, match=r"mine\.yaml: nodes in one namespace expected, got those in /car1, /car2"):
        given(tmp_path, cars)
    with pytest.raises(ConfigError, match=r"of /segmenter, /adapter or /\*\* expected, got those of /car1/segmenter, "):
        given(tmp_path, cars, "segmenter")
    assert given(tmp_path, cars, "adapter", "/car2") == {"a": 2}
    assert "not used" not in caplog.text
    assert given(tmp_path, cars + section("/**", a=3), "segmenter", "car3") == {"a": 3}
    assert "in namespace /car1, /car2 are not used: the nodes are /car3/segmenter and /car3/adapter" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/other: {ros__parameters: {a: 1}}", r"of /segmenter, /adapter or /\*\* expected, got those of /other"),
        ("/**: {a: 1, ros__parameters: {}}", r"/\*\*/a: a value outside of ros__parameters"),
        ("/**: {ros__parameters: 5}", r"parameters below a node's name expected, got 5"),
        ("ros__parameters: {a: 1}", r"parameters below a node's name expected"),
        ("/c*/segmenter: {ros__parameters: {a: 1}}", r"/c\*/segmenter: a node's name expected"),
    ],
)
def test_what_ros_would_refuse_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml: .*{said}"):
        given(tmp_path, text)


def test_a_plain_file_is_for_all_nodes(tmp_path: Path) -> None:
    assert given(tmp_path, "segmenter: {device: cpu}", "adapter", "car") == {"segmenter.device": "cpu"}


def test_a_dumped_file_loads_again(tmp_path: Path) -> None:
    """As ``ros2 param dump`` writes it: sections nested by the dots, ROS's own parameters among them."""
    (tmp_path / "dump.yaml").write_text(
        "/car/segmenter:\n  ros__parameters:\n    adaptation:\n      source:\n        bags: ['']\n"
        "    lidar:\n      topic: /points\n    training:\n      bags: []\n"
        "    qos_overrides:\n      /tf:\n        subscription:\n          depth: 10\n"
        "    start_type_description_service: true\n    use_sim_time: false\n"
    )
    assert Config.load(tmp_path / "dump.yaml") == Config.from_flat({"lidar.topic": "/points"})
