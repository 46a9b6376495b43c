"""The launch file describes exactly the executables and parameters that the package has.

``launch`` comes with a ROS distribution only. Where it is, the file is loaded; everywhere, it is read as code.
"""

from __future__ import annotations

import ast
import configparser
import importlib.util
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

from sam_adapt_ros import resources
from sam_adapt_ros.config import Config

FILE = resources.share_directory() / "launch" / "adapt.launch.py"
ARGUMENTS = {"params_file", "use_sim_time", "namespace", "rviz", "bag", "log_level"}


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
    launched = {_keyword(call, "executable") for call in ours}
    installed = {e.name for e in entry_points(group="console_scripts") if e.value.startswith("sam_adapt_ros.")}
    assert launched == {"segmenter"}
    assert launched <= installed
    # `ros2 run` and `ros2 launch` look in lib/<package>.
    setup = configparser.ConfigParser()
    setup.read(FILE.parents[1] / "setup.cfg")
    assert setup["install"]["install_scripts"] == "$base/lib/sam_adapt_ros"


def test_parameters_are_the_schemas(tree: ast.Module) -> None:
    keys = {k.value for n in ast.walk(tree) if isinstance(n, ast.Dict) for k in n.keys if isinstance(k, ast.Constant)}
    known = set(Config().to_flat()) | {"use_sim_time"}
    assert keys == {"transforms.calibration_file", "use_sim_time"}
    assert keys <= known


def test_files_and_node_names_are_right(tree: ast.Module) -> None:
    from sam_adapt_ros.bags.writer import CALIBRATION_FILE
    from sam_adapt_ros.nodes.dds import PROFILE_VARIABLES

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


def test_the_file_loads_and_starts_the_segmenter(tmp_path: Path) -> None:
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
    assert any(getattr(action, "node_executable", "") == "segmenter" for action in module.start(context))
    context.launch_configurations["bag"] = str(tmp_path)
    assert len(module.start(context)) == 5
