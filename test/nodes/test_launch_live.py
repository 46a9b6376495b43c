"""The launch file under the real ``ros2 launch``, inside a larger launch; scripts stand in for the executables."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sam_adapt_ros import resources
from sam_adapt_ros.config import Config
from sam_adapt_ros.nodes.fastdds import PROFILE_VARIABLES

launch = pytest.importorskip("launch", reason="launch comes with a ROS distribution")
pytest.importorskip("launch_ros", reason="launch_ros comes with a ROS distribution")

from launch.actions import (  # noqa: E402
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    Shutdown,
    TimerAction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
from launch_ros.actions import PushRosNamespace  # noqa: E402

FILE = resources.share_directory() / "launch" / "adapt.launch.py"
EXECUTABLES = {"sam_adapt_ros": ("segmenter", "adapter", "play_bag"), "rviz2": ("rviz2",)}
STAND_IN = f"""#!{sys.executable}
import json, os, sys, time
name = os.path.basename(sys.argv[0])
started = os.path.join(os.environ["RECORDS"], name)
with open(started, "a") as file:
    file.write(json.dumps({{"arguments": sys.argv[1:], "profile": os.environ.get({PROFILE_VARIABLES[0]!r})}}) + "\\n")
time.sleep(0.3 if name == 'segmenter' else 0.0)
codes = [int(code) for code in os.environ.get("CODES_" + name, "").split()]
times = sum(1 for _ in open(started))
if times <= len(codes):
    sys.exit(codes[times - 1])
try:
    time.sleep(60)
except KeyboardInterrupt:
    open(started + ".interrupted", "w").close()
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages whose executables note how they are started."""
    for package, names in EXECUTABLES.items():
        index = tmp_path / "prefix" / "share" / "ament_index" / "resource_index" / "packages"
        library = tmp_path / "prefix" / "lib" / package
        for folder in (index, library):
            folder.mkdir(parents=True, exist_ok=True)
        (index / package).touch()
        for name in names:
            (library / name).write_text(STAND_IN)
            (library / name).chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "prefix"))
    monkeypatch.setenv("RECORDS", str(tmp_path))
    monkeypatch.setenv("ROS_HOME", str(tmp_path / "ros"))
    for variable in PROFILE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def records(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    """How an executable was started, each time."""
    file = tmp_path / name
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def run(*actions: Any, seconds: float = 3.0) -> int:
    """Runs a launch, which is ended after a while."""
    service = launch.LaunchService(noninteractive=True)
    service.include_launch_description(
        launch.LaunchDescription([*actions, TimerAction(period=seconds, actions=[Shutdown(reason="enough")])])
    )
    return service.run()


def logged() -> str:
    """What launch has logged since the tests began."""
    return Path(launch.logging.launch_config.log_dir, "launch.log").read_text()


def included(**arguments: str) -> IncludeLaunchDescription:
    return IncludeLaunchDescription(PythonLaunchDescriptionSource(str(FILE)), launch_arguments=arguments.items())


def parameters(record: dict[str, Any]) -> Path:
    arguments = record["arguments"]
    return Path(arguments[arguments.index("--params-file") + 1])


def test_all_is_started_inside_a_scoped_group_with_a_namespace(tmp_path: Path) -> None:
    """With what the group defines, which is gone when the group has been carried out."""
    given = {"params_file": "town", "mode": "observe", "bag": "/data/drive", "namespace": "left", "rviz": "True"}
    later = ExecuteProcess(cmd=[str(tmp_path / "prefix" / "lib" / "sam_adapt_ros" / "later")])
    script = tmp_path / "prefix" / "lib" / "sam_adapt_ros" / "later"
    script.write_text(STAND_IN)
    script.chmod(0o755)
    assert (
        run(GroupAction([PushRosNamespace("fleet"), included(**given)]), TimerAction(period=1.0, actions=[later])) == 0
    )
    (played,) = records(tmp_path, "play_bag")
    assert played["arguments"][:6] == [
        "/data/drive", "--lidar-topic", "/LIDAR_TOP", "--namespace", "/fleet/left", "--adapts",
    ]  # fmt: skip
    for name in ("segmenter", "adapter"):
        (started,) = records(tmp_path, name)
        assert "__ns:=/fleet/left" in started["arguments"]
        config = Config.load(parameters(started))
        assert config.adaptation.mode == "observe"
        assert config.adaptation.store.folder == str(tmp_path / "ros" / "sam_adapt_ros" / "fleet" / "left" / "store")
        assert "use_sim_time: true" in parameters(started).read_text().replace('"', "")
    (view,) = records(tmp_path, "rviz2")
    assert "/fleet/left/segmentation/labels" in Path(view["arguments"][1]).read_text()
    ours = str(resources.share_directory() / "config" / "fastdds.xml")
    assert {record["profile"] for record in (played, view)} == {ours}
    assert records(tmp_path, "later")[0]["profile"] is None, "the profile is that of our processes alone"
    assert not any(variable in os.environ for variable in PROFILE_VARIABLES)


def test_the_profile_of_the_larger_launch_is_left_alone(tmp_path: Path) -> None:
    own = launch.actions.SetEnvironmentVariable(PROFILE_VARIABLES[0], "/own.xml")
    run(GroupAction([own, included(params_file="town", mode="off")]), seconds=1.5)
    assert [record["profile"] for record in records(tmp_path, "segmenter")] == ["/own.xml"]


@pytest.mark.parametrize(("respawn", "starts"), [("true", 3), ("False", 1)])
def test_a_node_that_ends_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, respawn: str, starts: int
) -> None:
    monkeypatch.setenv("CODES_segmenter", f"1 {os.EX_CONFIG}")  # its parameters did fit once
    run(included(params_file="town", mode="off", respawn=respawn), seconds=7.0)
    assert len(records(tmp_path, "segmenter")) == starts


def test_a_segmenter_whose_parameters_do_not_fit_ends_its_own_launch_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODES_segmenter", f"{os.EX_CONFIG}")
    other = [sys.executable, "-c", f"import time; time.sleep(5); open({str(tmp_path / 'other')!r}, 'w')"]
    run(included(params_file="town", bag="/data/drive"), ExecuteProcess(cmd=other), seconds=8.0)
    assert len(records(tmp_path, "segmenter")) == 1
    assert "the segmenter cannot start with these parameters" in logged()
    for name in ("adapter", "play_bag"):
        assert (tmp_path / f"{name}.interrupted").exists()
    assert (tmp_path / "other").exists(), "the rest of the launch goes on"


def test_an_adapter_whose_parameters_do_not_fit_leaves_the_segmenter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODES_adapter", f"{os.EX_CONFIG}")
    run(included(params_file="town"), seconds=4.5)
    assert len(records(tmp_path, "adapter")) == len(records(tmp_path, "segmenter")) == 1
    assert "the adapter cannot start with these parameters" in logged()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mode": "sideways"}, "launch arguments: mode: Input should be 'auto', 'source_free'"),
        ({"params_file": "nowhere"}, "configuration: nowhere"),
    ],
)
def test_arguments_that_do_not_fit_end_the_launch_in_one_line(given: dict[str, str], said: str) -> None:
    assert run(included(**given)) == 1
    assert said in logged()
