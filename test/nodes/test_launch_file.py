"""The launch file describes exactly the executables and parameters that the package has.

``launch`` comes with a ROS distribution only. Where it is, the file is loaded; everywhere, it is read as code.
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
from sam_adapt_ros.nodes.tools.launcher import OFF, with_arguments

FILE = resources.share_directory() / "launch" / "adapt.launch.py"
ARGUMENTS = {
    *("params_file", "mode", "weights", "sam_checkpoint", "store"),
    *("use_sim_time", "namespace", "rviz", "bag", "log_level"),
}


@pytest.fixture(scope="module")
def tree() -> ast.Module:
    return ast.parse(FILE.read_text())


def _calls(tree: ast.Module, *names: str) -> list[ast.Call]:
    return [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in names
    ]


def _keyword(call: ast.Call, name: str) -> str | None:
    value = next((k.value for k in call.keywords if k.arg == name), None)
    return value.value if isinstance(value, ast.Constant) else getattr(value, "id", None)


def _strings(tree: ast.Module) -> set[str]:
    return {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def test_arguments(tree: ast.Module) -> None:
    declared = {call.args[0].value for call in _calls(tree, "DeclareLaunchArgument")}  # type: ignore[attr-defined]
    used = {call.args[0].value for call in _calls(tree, "LaunchConfiguration")}  # type: ignore[attr-defined]
    assert declared == used == ARGUMENTS
    for call in _calls(tree, "DeclareLaunchArgument"):
        assert _keyword(call, "default_value") is not None, "every argument can be left out"
        assert _keyword(call, "description")


def test_executables_are_console_scripts(tree: ast.Module) -> None:
    ours = [call for call in _calls(tree, "Node", "LifecycleNode") if _keyword(call, "package") == "PACKAGE"]
    launched = {str(_keyword(call, "executable")) for call in ours}
    installed = {e.name for e in entry_points(group="console_scripts") if e.value.startswith("sam_adapt_ros.")}
    assert launched == {"segmenter", "adapter", "await_adapter"}
    assert launched <= installed
    # `ros2 run` and `ros2 launch` look in lib/<package>.
    setup = configparser.ConfigParser()
    setup.read(FILE.parents[1] / "setup.cfg")
    assert setup["install"]["install_scripts"] == "$base/lib/sam_adapt_ros"


def test_parameters_are_the_schemas(tree: ast.Module) -> None:
    known = set(Config().to_flat()) | {"use_sim_time"}
    sections = tuple(f"{name.split('.')[0]}." for name in known)
    assert (
        {text for text in _strings(tree) if text.startswith(sections)}
        == {
            "transforms.calibration_file",
            "adaptation.mode",
            "adaptation.store.folder",
            "segmenter.weights",
            "masks.generator",
            "masks.sam.checkpoint",
        }
        <= known
    )
    modes = next(c for c in _calls(tree, "DeclareLaunchArgument") if c.args[0].value == "mode")  # type: ignore[attr-defined]
    choices = ast.literal_eval(next(k.value for k in modes.keywords if k.arg == "choices"))
    for mode in set(choices) - {"auto", OFF}:
        Config.from_flat({"adaptation.mode": mode})


def test_files_and_node_names_are_right(tree: ast.Module) -> None:
    from sam_adapt_ros.messages.calibration_file import CALIBRATION_FILE
    from sam_adapt_ros.nodes.fastdds import PROFILE_VARIABLES

    strings = _strings(tree)
    assert set(PROFILE_VARIABLES) <= strings
    assert CALIBRATION_FILE in strings
    for name in ("fastdds.xml", "adapt.rviz"):
        assert name in strings
        assert (FILE.parents[1] / "config" / name).is_file()
    (segmenter,) = _calls(tree, "LifecycleNode")
    assert _keyword(segmenter, "name") == "segmenter"
    default = next(c for c in _calls(tree, "DeclareLaunchArgument") if c.args[0].value == "params_file")  # type: ignore[attr-defined]
    Config.load(str(_keyword(default, "default_value")))


def test_the_rviz_file_shows_labels_overlay_and_tf() -> None:
    data = yaml.safe_load((FILE.parents[1] / "config" / "adapt.rviz").read_text())
    displays = {display["Class"].split("/")[1]: display for display in data["Visualization Manager"]["Displays"]}
    assert displays["PointCloud2"]["Name"] in ("Labels", "LiDAR")
    topics = [d["Topic"]["Value"] for d in data["Visualization Manager"]["Displays"] if "Topic" in d]
    assert "/segmentation/labels" in topics
    assert "/segmenter/overlay/CAM_FRONT/compressed" in topics
    assert "TF" in displays
    for preset in ("nuscenes", "kitti", "town"):
        assert "CAM_FRONT" in Config.load(preset).cameras


def test_presets_are_ros_parameter_files() -> None:
    for path in (FILE.parents[1] / "config").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        if "/**" in content:
            Config.load(str(path))
    for name in ("nuscenes", "kitti", "town"):
        assert "ros__parameters" in yaml.safe_load((FILE.parents[1] / "config" / f"{name}.yaml").read_text())["/**"]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"mode": "off"},
        {"mode": "observe", "store": "/data/store"},
        {"weights": "city.safetensors", "sam_checkpoint": "sam.pth"},
    ],
)
@pytest.mark.parametrize("file", ["town", "file"])
def test_arguments_mean_the_same_as_those_of_sam_adapt_run(
    tree: ast.Module, arguments: dict[str, str], file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_HOME", str(tmp_path / "ros"))
    path = FILE.parents[1] / "config" / "town.yaml"
    if file == "file":
        path = tmp_path / "mine.yaml"
        learning = {"mode": "with_source", "store.folder": str(tmp_path / "mine")}
        path.write_text(yaml.safe_dump({"/**": {"ros__parameters": {"adaptation": learning}}}))
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in _PURE]
    space: dict[str, Any] = {"Path": Path, "os": os, "yaml": yaml, "Any": Any, "PACKAGE": "sam_adapt_ros"}
    exec(compile(ast.Module(functions, []), str(FILE), "exec"), space)
    given = {"mode": "auto", "weights": "", "sam_checkpoint": "", "store": "", **arguments}
    launched = Config.load(str(path), space["learning_parameters"](path, **given))
    assert launched == with_arguments(Config.load(str(path)), **arguments)
    followed = launched.adaptation.store.folder
    if arguments.get("mode") == OFF:
        assert followed == ""
    elif "store" not in arguments:
        assert followed == str(tmp_path / ("mine" if file == "file" else "ros/sam_adapt_ros/store"))


_PURE = {"learning_parameters", "given", "look_up"}


def test_the_file_loads_and_starts_both_nodes(tmp_path: Path) -> None:
    launch = pytest.importorskip("launch", reason="launch comes with a ROS distribution")
    pytest.importorskip("launch_ros", reason="launch_ros comes with a ROS distribution")
    specification = importlib.util.spec_from_file_location("adapt_launch", FILE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    description = module.generate_launch_description()
    assert {argument.name for argument in description.get_launch_arguments()} == ARGUMENTS
    context = launch.LaunchContext()
    for argument in description.get_launch_arguments():
        argument.visit(context)
    nodes = [getattr(action, "node_executable", "") for action in module.start(context)]
    assert {"segmenter", "adapter"} <= set(nodes)
    context.launch_configurations["bag"] = str(tmp_path)
    assert len(module.start(context)) == 6
    context.launch_configurations["mode"] = "off"
    nodes = [getattr(action, "node_executable", "") for action in module.start(context)]
    assert "segmenter" in nodes
    assert "adapter" not in nodes


class _Action:
    """Stands for any of launch's actions and substitutions: remembers what it was made with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def perform(self, context: dict[str, str]) -> str:
        return context[self.args[0]]


def test_a_bag_is_observed_with_the_store_that_was_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file's own code, between stand-ins for launch."""
    (tmp_path / "calibration.yaml").touch()
    names: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(FILE.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("launch", "ament")):
            names.setdefault(node.module, set()).update(alias.name for alias in node.names)
    for module, found in names.items():
        stand_in = types.ModuleType(module)
        vars(stand_in).update({name: type(name, (_Action,), {}) for name in found})
        monkeypatch.setitem(sys.modules, module, stand_in)
    share = FILE.parents[1]
    monkeypatch.setattr(
        sys.modules["ament_index_python.packages"], "get_package_share_directory", lambda _: str(share), raising=False
    )
    space: dict[str, Any] = {}
    exec(compile(FILE.read_text(), str(FILE), "exec"), space)
    described = space["generate_launch_description"]().args[0]
    arguments = {a.args[0]: a.kwargs["default_value"] for a in described if type(a).__name__ == "DeclareLaunchArgument"}
    given = {"params_file": "kitti", "mode": "observe", "store": "/data/store", "bag": str(tmp_path)}
    actions = space["start"]({**arguments, **given})
    nodes = {a.kwargs["executable"]: a for a in actions if a.kwargs.get("package") == "sam_adapt_ros"}
    assert set(nodes) == {"segmenter", "adapter"}
    for node in nodes.values():
        preset, *parameters = node.kwargs["parameters"]
        assert preset == str(share / "config" / "kitti.yaml")
        assert {name: value for each in parameters for name, value in each.items()} == {
            "adaptation.mode": "observe",
            "adaptation.store.folder": "/data/store",
            "transforms.calibration_file": str(tmp_path / "calibration.yaml"),
            "use_sim_time": True,
        }
        assert node.kwargs["output"] == "both", "what they say is on the console, too"
    (handler,) = (a for a in actions if type(a).__name__ == "RegisterEventHandler")
    (listener,) = handler.args[0].kwargs["entities"]
    assert listener.kwargs["executable"] == "await_adapter"
    assert listener.kwargs["arguments"][0] == "--namespace"
    played = listener.kwargs["on_exit"][-1]
    assert played.kwargs["cmd"] == ["ros2", "bag", "play", str(tmp_path), "--clock"]

    *_, handler = space["start"]({**arguments, **given, "mode": "source_free"})
    assert handler.args[0].kwargs["entities"][-1].kwargs["cmd"] == played.kwargs["cmd"]
