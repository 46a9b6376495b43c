"""The launch file describes exactly the executables and parameters that the package has.

``launch`` comes with a ROS distribution only, and ``test_launch_live.py`` is for it; here the file's code runs between
stand-ins.
"""

from __future__ import annotations

import ast
import configparser
import os
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from sam_adapt_ros import resources
from sam_adapt_ros.config import Config, ParameterFile
from sam_adapt_ros.nodes.fastdds import PROFILE_VARIABLES
from sam_adapt_ros.nodes.launch_arguments import LaunchArguments
from sam_adapt_ros.nodes.rviz import rviz_text

FILE = resources.share_directory() / "launch" / "adapt.launch.py"


class _Action:
    """Stands for any of launch's actions and substitutions: remembers what it was made with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def perform(self, context: dict[str, str]) -> str:
        return context[self.args[0]]


@pytest.fixture
def launch_file(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """The file's own code, between stand-ins for launch."""
    names: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(FILE.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("launch", "ament")):
            names.setdefault(node.module, set()).update(alias.name for alias in node.names)
    for module, found in names.items():
        stand_in = types.ModuleType(module)
        vars(stand_in).update({name: type(name, (_Action,), {}) for name in found})
        monkeypatch.setitem(sys.modules, module, stand_in)
    space: dict[str, Any] = {}
    exec(compile(FILE.read_text(), str(FILE), "exec"), space)
    return types.SimpleNamespace(**space)


def start(launch_file: types.SimpleNamespace, outer: str = "", **given: str) -> list[_Action]:
    """The actions that ``ros2 launch`` would carry out with these arguments, inside of a pushed namespace."""
    described = launch_file.generate_launch_description().args[0]
    defaults = {a.args[0]: a.kwargs["default_value"] for a in described if type(a).__name__ == "DeclareLaunchArgument"}
    assert given.keys() <= defaults.keys()
    configurations = {**defaults, **given}
    return launch_file.start(_Context(configurations, {**configurations, "ros_namespace": outer} if outer else {}))


class _Context(dict[str, str]):
    def __init__(self, given: dict[str, str], configurations: dict[str, str]) -> None:
        super().__init__(given)
        self.launch_configurations = configurations


def nodes(actions: list[_Action], package: str = "sam_adapt_ros") -> dict[str, dict[str, Any]]:
    """What the package's nodes were described with, by executable."""
    return {each.kwargs["executable"]: each.kwargs for each in actions if each.kwargs.get("package") == package}


def test_every_argument_is_declared_with_its_choices(launch_file: types.SimpleNamespace) -> None:
    declared = {a.args[0]: a.kwargs for a in launch_file.generate_launch_description().args[0][:-1]}
    assert list(declared) == list(LaunchArguments.model_fields)
    for name, argument in declared.items():
        assert argument["description"].startswith(LaunchArguments.model_fields[name].description)
        assert argument["default_value"] == LaunchArguments.model_fields[name].default, "every argument can be left out"
    assert declared["rviz"]["description"].endswith(" One of: true, false.")
    assert "One of" not in declared["weights"]["description"]


def test_both_nodes_are_started_from_installed_executables(launch_file: types.SimpleNamespace) -> None:
    launched = nodes(start(launch_file, mode="observe", bag="/data/drive"))
    assert launched.keys() == {"segmenter", "adapter", "play_bag"}
    scripts = re.findall(r'"(\w+) = sam_adapt_ros\.', (FILE.parents[1] / "setup.py").read_text())
    assert launched.keys() <= set(scripts)
    # `ros2 run` and `ros2 launch` look in lib/<package>.
    setup = configparser.ConfigParser()
    setup.read(FILE.parents[1] / "setup.cfg")
    assert setup["install"]["install_scripts"] == "$base/lib/sam_adapt_ros"
    for name in ("segmenter", "adapter"):
        assert launched[name]["name"] == name
        assert launched[name]["output"] == "both", "what they log is on the console, too"
        assert launched[name]["respawn"]
    assert nodes(start(launch_file, mode="off")).keys() == {"segmenter"}
    assert not nodes(start(launch_file, mode="off", respawn="False"))["segmenter"]["respawn"]


def test_arguments_reach_the_nodes(launch_file: types.SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "calibration.yaml").touch()
    given = {"params_file": "kitti", "mode": "observe", "store": "/data/store", "bag": str(tmp_path)}
    launched = nodes(start(launch_file, **given, namespace="car", log_level="DEBUG"))
    for name in ("segmenter", "adapter"):
        assert launched[name]["namespace"] == "/car"
        assert launched[name]["ros_arguments"] == ["--log-level", "debug"]
        (file,) = launched[name]["parameters"]
        values = {
            "adaptation.mode": "observe",
            "adaptation.store.folder": "/data/store",
            "transforms.calibration_file": str(tmp_path / "calibration.yaml"),
        }
        assert Config.load(file) == Config.load("kitti", values)
        assert ParameterFile.read(Path(file)).parameters()["use_sim_time"] is True


def test_each_node_gets_its_own_sections_of_the_file(
    launch_file: types.SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_HOME", str(tmp_path))
    file = tmp_path / "mine.yaml"
    file.write_text(
        "/**: {ros__parameters: {use_sim_time: on, lidar.topic: /a, adaptation.source.bags: []}}\n"
        "/fleet/*/segmenter: {ros__parameters: {lidar: {topic: /b}, segmenter: {threads: 2}}}\n"
        "/fleet/car/adapter: {ros__parameters: {segmenter: {threads: 1}}}\n"
    )
    launched = nodes(start(launch_file, outer="/fleet", params_file=str(file), namespace="car"))
    for name, topic, threads in (("segmenter", "/b", 2), ("adapter", "/a", 1)):
        given = ParameterFile.read(Path(launched[name]["parameters"][0])).of(f"/fleet/car/{name}")
        assert given == {
            "lidar.topic": topic,
            "segmenter.threads": threads,
            "adaptation.store.folder": str(tmp_path / "sam_adapt_ros" / "fleet" / "car" / "store"),
            "use_sim_time": True,
        }


def test_rviz_is_opened_on_request(launch_file: types.SimpleNamespace) -> None:
    assert not nodes(start(launch_file), "rviz2")
    rviz = nodes(start(launch_file, rviz="True", use_sim_time="TRUE", namespace="car"), "rviz2")["rviz2"]
    option, file = rviz["arguments"]
    assert option == "-d"
    assert Path(file).read_text() == rviz_text(Config.load("nuscenes"), "/car")
    assert rviz["parameters"] == [{"use_sim_time": True}]


def test_a_bag_is_played_to_the_nodes_that_there_are(launch_file: types.SimpleNamespace) -> None:
    for mode, adapts in (("source_free", ["--adapts"]), ("observe", ["--adapts"]), ("off", [])):
        played = nodes(start(launch_file, bag="/data/drive", mode=mode, namespace="car"))["play_bag"]
        assert played["namespace"] == "/car"
        expected = ["/data/drive", "--lidar-topic", "/LIDAR_TOP", "--namespace", "/car", *adapts]
        assert played["arguments"] == expected
    assert "play_bag" not in nodes(start(launch_file))


def test_images_get_a_profile_that_lets_them_through_shared_memory(
    launch_file: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in PROFILE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    ours = dict.fromkeys(PROFILE_VARIABLES, str(FILE.parents[1] / "config" / "fastdds.xml"))
    actions = start(launch_file, bag="/data/drive", rviz="true")
    started = [*nodes(actions).values(), *nodes(actions, "rviz2").values()]
    assert [node["additional_env"] for node in started] == [ours] * 4
    assert not any(variable in os.environ for variable in PROFILE_VARIABLES), "of the launched processes alone"


@pytest.mark.parametrize("variable", PROFILE_VARIABLES)
def test_a_profile_of_the_users_own_is_left_alone(
    launch_file: types.SimpleNamespace, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in PROFILE_VARIABLES:
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(variable, "/home/user/own.xml")
    assert [node["additional_env"] for node in nodes(start(launch_file)).values()] == [{}, {}]
