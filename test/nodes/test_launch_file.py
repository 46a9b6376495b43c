"""The launch file describes exactly the executables and parameters that the package has.

``launch`` comes with a ROS distribution only. Where it is, the file is loaded; everywhere, its code runs between
stand-ins.
"""

from __future__ import annotations

import ast
import configparser
import importlib.util
import os
import sys
import types
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

from sam_adapt_ros import resources
from sam_adapt_ros.config import Config
from sam_adapt_ros.nodes.fastdds import PROFILE_VARIABLES
from sam_adapt_ros.nodes.launch_arguments import LaunchArguments

FILE = resources.share_directory() / "launch" / "adapt.launch.py"
CONFIG = FILE.parents[1] / "config"


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


def start(launch_file: types.SimpleNamespace, **given: str) -> list[_Action]:
    """The actions that ``ros2 launch`` would carry out with these arguments."""
    described = launch_file.generate_launch_description().args[0]
    defaults = {a.args[0]: a.kwargs["default_value"] for a in described if type(a).__name__ == "DeclareLaunchArgument"}
    assert given.keys() <= defaults.keys()
    return launch_file.start({**defaults, **given})


def nodes(actions: list[_Action], package: str = "sam_adapt_ros") -> dict[str, dict[str, Any]]:
    """What the package's nodes were described with, by executable; those that play a bag included."""
    later = [action for handler in handlers(actions) for action in handler["entities"]]
    found = [action.kwargs for action in (*actions, *later) if action.kwargs.get("package") == package]
    return {node["executable"]: node for node in found}


def handlers(actions: list[_Action]) -> list[dict[str, Any]]:
    return [a.args[0].kwargs for a in actions if type(a).__name__ == "RegisterEventHandler"]


def profiles(actions: list[_Action]) -> dict[str, str]:
    return {a.args[0]: a.args[1] for a in actions if type(a).__name__ == "SetEnvironmentVariable"}


def test_every_argument_is_declared_with_its_choices(launch_file: types.SimpleNamespace) -> None:
    declared = {a.args[0]: a.kwargs for a in launch_file.generate_launch_description().args[0][:-1]}
    assert list(declared) == list(LaunchArguments.model_fields)
    for name, argument in declared.items():
        assert argument["description"]
        assert argument["default_value"] == LaunchArguments.model_fields[name].default, "every argument can be left out"
        choices = argument["choices"]
        assert choices is None or argument["default_value"] in choices
    assert declared["rviz"]["choices"] == ("true", "false")
    assert declared["weights"]["choices"] is None


def test_both_nodes_are_started_from_installed_executables(launch_file: types.SimpleNamespace) -> None:
    launched = nodes(start(launch_file, mode="observe", bag="/data/drive"))
    installed = {e.name for e in entry_points(group="console_scripts") if e.value.startswith("sam_adapt_ros.")}
    assert launched.keys() == {"segmenter", "adapter", "await_adapter"}
    assert launched.keys() <= installed
    # `ros2 run` and `ros2 launch` look in lib/<package>.
    setup = configparser.ConfigParser()
    setup.read(FILE.parents[1] / "setup.cfg")
    assert setup["install"]["install_scripts"] == "$base/lib/sam_adapt_ros"
    for name in ("segmenter", "adapter"):
        assert launched[name]["name"] == name
        assert launched[name]["output"] == "both", "what they log is on the console, too"
        assert launched[name]["respawn"]
    assert nodes(start(launch_file, mode="off")).keys() == {"segmenter"}


def test_arguments_reach_the_nodes(launch_file: types.SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "calibration.yaml").touch()
    given = {"params_file": "kitti", "mode": "observe", "store": "/data/store", "bag": str(tmp_path)}
    for node in nodes(start(launch_file, **given, namespace="car", log_level="debug")).values():
        if "parameters" not in node:
            continue
        assert node["namespace"] == "car"
        assert node["ros_arguments"] == ["--log-level", "debug"]
        preset, *parameters = node["parameters"]
        assert preset == str(CONFIG / "kitti.yaml")
        values = {name: value for each in parameters for name, value in each.items()}
        assert values == {
            "adaptation.mode": "observe",
            "adaptation.store.folder": "/data/store",
            "transforms.calibration_file": str(tmp_path / "calibration.yaml"),
            "use_sim_time": True,
        }
        known = Config().to_flat().keys() | {"use_sim_time"}
        assert values.keys() <= known


def test_rviz_is_opened_on_request(launch_file: types.SimpleNamespace) -> None:
    assert not nodes(start(launch_file), "rviz2")
    rviz = nodes(start(launch_file, rviz="true", use_sim_time="true"), "rviz2")["rviz2"]
    assert rviz["arguments"] == ["-d", str(CONFIG / "adapt.rviz")]
    assert rviz["parameters"] == [{"use_sim_time": True}]


def test_a_bag_is_played_once_those_are_ready_that_need_all_of_it(launch_file: types.SimpleNamespace) -> None:
    (handler,) = handlers(start(launch_file, bag="/data/drive", mode="observe"))
    assert handler["target_lifecycle_node"].kwargs["name"] == "segmenter"
    assert handler["goal_state"] == "active"
    (waiting,) = handler["entities"]
    assert waiting.kwargs["executable"] == "await_adapter"
    assert waiting.kwargs["arguments"] == ["--namespace", ""]
    played = waiting.kwargs["on_exit"][-1]
    assert played.kwargs["cmd"] == ["ros2", "bag", "play", "/data/drive", "--clock"]
    for mode in ("source_free", "off"):
        (handler,) = handlers(start(launch_file, bag="/data/drive", mode=mode))
        assert handler["entities"][-1].kwargs["cmd"] == played.kwargs["cmd"]
    assert not handlers(start(launch_file))


def test_images_get_a_profile_that_lets_them_through_shared_memory(
    launch_file: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in PROFILE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    ours = str(FILE.parents[1] / "config" / "fastdds.xml")
    assert profiles(start(launch_file)) == dict.fromkeys(PROFILE_VARIABLES, ours)
    assert not any(variable in os.environ for variable in PROFILE_VARIABLES), "of the launched processes alone"


@pytest.mark.parametrize("variable", PROFILE_VARIABLES)
def test_a_profile_of_the_users_own_is_left_alone(
    launch_file: types.SimpleNamespace, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in PROFILE_VARIABLES:
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(variable, "/home/user/own.xml")
    assert profiles(start(launch_file)) in ({}, {variable: "/home/user/own.xml"})


def test_the_rviz_file_shows_labels_overlay_and_tf() -> None:
    data = yaml.safe_load((CONFIG / "adapt.rviz").read_text())
    displays = {display["Class"].split("/")[1]: display for display in data["Visualization Manager"]["Displays"]}
    assert displays["PointCloud2"]["Name"] in ("Labels", "LiDAR")
    topics = [d["Topic"]["Value"] for d in data["Visualization Manager"]["Displays"] if "Topic" in d]
    assert "/segmentation/labels" in topics
    assert "/segmenter/overlay/CAM_FRONT/compressed" in topics
    assert "TF" in displays
    for preset in ("nuscenes", "kitti", "town"):
        assert "CAM_FRONT" in Config.load(preset).cameras


def test_the_file_loads_and_starts_both_nodes(tmp_path: Path) -> None:
    launch = pytest.importorskip("launch", reason="launch comes with a ROS distribution")
    pytest.importorskip("launch_ros", reason="launch_ros comes with a ROS distribution")
    specification = importlib.util.spec_from_file_location("adapt_launch", FILE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    description = module.generate_launch_description()
    assert {argument.name for argument in description.get_launch_arguments()} == set(LaunchArguments.model_fields)
    context = launch.LaunchContext()
    for argument in description.get_launch_arguments():
        argument.visit(context)
    nodes = [getattr(action, "node_executable", "") for action in module.start(context)]
    assert {"segmenter", "adapter"} <= set(nodes)
    assert "RegisterEventHandler" not in {type(action).__name__ for action in module.start(context)}
    context.launch_configurations["bag"] = str(tmp_path)
    assert "RegisterEventHandler" in {type(action).__name__ for action in module.start(context)}
    context.launch_configurations["mode"] = "off"
    nodes = [getattr(action, "node_executable", "") for action in module.start(context)]
    assert "segmenter" in nodes
    assert "adapter" not in nodes
