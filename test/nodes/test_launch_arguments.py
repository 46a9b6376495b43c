"""What the arguments of the launch file and of ``sam-adapt run`` do to a configuration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import ValidationError

from sam_adapt_ros.config import AdaptationConfig, Config
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.nodes.launch_arguments import (
    AUTO,
    OFF,
    LaunchArguments,
    Mode,
    absolute_name,
    bag_calibration,
    default_store,
    observes,
)


@pytest.fixture
def params_file(tmp_path: Path) -> str:
    """A user's own, with a mode and a store."""
    path = tmp_path / "mine.yaml"
    learning = {"mode": "with_source", "store.folder": str(tmp_path / "mine")}
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": {"adaptation": learning}}}))
    return str(path)


def test_the_modes_are_the_schemas() -> None:
    modes = get_args(AdaptationConfig.model_fields["mode"].annotation)
    assert get_args(Mode) == (AUTO, *modes, OFF)
    with pytest.raises(ValidationError, match="mode"):
        LaunchArguments(mode="sideways")  # type: ignore[arg-type]


def test_without_arguments_the_parameter_file_decides(params_file: str, tmp_path: Path) -> None:
    assert LaunchArguments(params_file=params_file).configure() == Config.load(params_file)
    config = LaunchArguments(params_file=params_file).configure({"adaptation.mode": "observe"})
    assert config.adaptation.mode == "observe"


def test_arguments_override_the_parameter_file(params_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/user")
    config = LaunchArguments(
        params_file=params_file,
        mode="observe",
        weights="~/city.safetensors",
        sam_checkpoint="~/sam.pth",
        store="~/store",
    ).configure()
    assert config.adaptation.mode == "observe"
    assert config.segmenter.weights == "/home/user/city.safetensors"
    assert (config.masks.generator, config.masks.sam.checkpoint) == ("sam_lidar+segments", "/home/user/sam.pth")
    assert config.adaptation.store.folder == "/home/user/store"
    assert LaunchArguments(bag="~/drive", params_file="~/my.yaml").bag == "/home/user/drive"


def test_a_store_that_nobody_names_is_in_ros_home(
    params_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_HOME", str(tmp_path / "ros"))
    assert default_store() == tmp_path / "ros" / "sam_adapt_ros" / "store"
    assert LaunchArguments(params_file="town").configure().adaptation.store.folder == str(default_store())
    monkeypatch.delenv("ROS_HOME")
    monkeypatch.setenv("HOME", "/home/user")
    assert default_store() == Path("/home/user/.ros/sam_adapt_ros/store")
    assert LaunchArguments(params_file=params_file).configure().adaptation.store.folder == str(tmp_path / "mine")
    stores = {
        LaunchArguments(params_file="town", namespace=namespace).configure().adaptation.store.folder
        for namespace in ("car1", "/car2/", "/fleet/car1")
    }
    assert stores == {f"/home/user/.ros/sam_adapt_ros/{name}/store" for name in ("car1", "car2", "fleet/car1")}


def test_off_starts_no_adapter_and_follows_no_store(params_file: str) -> None:
    config = LaunchArguments(params_file=params_file, mode="off", store="/data/store").configure()
    assert config.adaptation.store.folder == ""
    assert not observes(config)
    assert not observes(LaunchArguments(mode="off").configure({"adaptation.mode": "observe"}))
    assert observes(LaunchArguments(mode="observe").configure())


def test_time_is_simulated_while_a_bag_is_played_unless_told_otherwise(tmp_path: Path) -> None:
    def simulated(**arguments: str) -> bool:
        return LaunchArguments.parse(arguments).of_ros("segmenter")["use_sim_time"]

    file = tmp_path / "mine.yaml"
    file.write_text("/**: {ros__parameters: {use_sim_time: true, qos_overrides: {/tf: {depth: 3}}}}")
    mine = {"params_file": str(file)}
    assert not simulated()
    assert simulated(bag="/data/drive")
    assert simulated(use_sim_time="true")
    assert not simulated(use_sim_time="false", bag="/data/drive")
    assert simulated(**mine)
    assert not simulated(**mine, use_sim_time="False")
    assert LaunchArguments.parse(mine).of_ros() == {"use_sim_time": True, "qos_overrides./tf.depth": 3}
    file.write_text("/**: {ros__parameters: {use_sim_time: false}}")  # as every dumped parameter file
    assert simulated(**mine, bag="/data/drive")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("True", "true"), ("TRUE", "true"), ("1", "true"), ("on", "true"), ("False", "false"), ("0", "false")],
)
def test_switches_may_be_written_as_python_does(given: str, meant: str) -> None:
    arguments = LaunchArguments.parse({"use_sim_time": given, "rviz": given, "respawn": given, "log_level": "WARN"})
    assert (arguments.use_sim_time, arguments.rviz, arguments.respawn) == (meant, meant, meant)
    assert arguments.log_level == "warn"
    with pytest.raises(ConfigError, match=r"launch arguments: rviz: Input should be 'true' or 'false' \(got 'maybe'\)"):
        LaunchArguments.parse({"rviz": "maybe"})


@pytest.mark.parametrize(
    ("namespace", "name", "full"),
    [
        ("", "", "/"),
        ("", "car", "/car"),
        ("/fleet", "car/", "/fleet/car"),
        ("/fleet", "/car", "/car"),
        ("/fleet", "", "/fleet"),
        ("/", "points", "/points"),
        ("car", "sensors/points", "/car/sensors/points"),
    ],
)
def test_names_in_a_namespace(namespace: str, name: str, full: str) -> None:
    assert absolute_name(namespace, name) == full


def test_each_node_reads_its_own_sections(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("/**: {ros__parameters: {lidar.topic: /a}}\n/car/segmenter: {ros__parameters: {lidar.topic: /b}}\n")
    arguments = LaunchArguments(params_file=str(file), namespace="/car")
    assert arguments.configure(node="segmenter").lidar.topic == "/b"
    assert arguments.configure(node="adapter").lidar.topic == "/a"


def test_a_bags_calibration_is_used_where_the_configuration_names_none(tmp_path: Path) -> None:
    config = Config()
    assert bag_calibration(config, tmp_path) == {}
    (tmp_path / "calibration.yaml").touch()
    found = {"transforms.calibration_file": str(tmp_path / "calibration.yaml")}
    assert bag_calibration(config, tmp_path) == found
    assert bag_calibration(config.updated({"transforms.calibration_file": "/own.yaml"}), tmp_path) == {}
    assert (
        LaunchArguments(params_file="kitti", bag=str(tmp_path)).parameters(Config.load("kitti")).items()
        >= found.items()
    )


def test_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        LaunchArguments(params_file="nowhere").configure()
    with pytest.raises(ConfigError, match=r"segmenter\.devise"):
        LaunchArguments(params_file="town").configure({"segmenter.devise": "cpu"})


def test_the_launch_file_does_not_pay_for_rclpy_or_torch() -> None:
    code = "import sys, sam_adapt_ros.nodes.launch_arguments; print({'rclpy', 'torch'} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
