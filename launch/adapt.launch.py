"""Starts segmenter and adapter with the Fast DDS profile; plays a bag to them and opens RViz on request.

ros2 launch sam_adapt_ros adapt.launch.py params_file:=nuscenes bag:=/data/scene-0061 rviz:=true
"""

# ruff: noqa: I001 (the folder `launch` makes the package of that name look like ours)

import os
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition

PACKAGE = "sam_adapt_ros"


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file",
                default_value="nuscenes",
                description="A preset (town, nuscenes, kitti) or a ROS parameter file.",
            ),
            DeclareLaunchArgument(
                "mode",
                default_value="auto",
                choices=["auto", "source_free", "with_source", "observe", "off"],
                description="How to learn: source_free, with_source, or observe (everything but training); "
                "auto: as the parameter file says, source_free where it does not. off: no adapter.",
            ),
            DeclareLaunchArgument(
                "weights", default_value="", description="Weights of the source model; default: the parameter file's."
            ),
            DeclareLaunchArgument(
                "sam_checkpoint",
                default_value="",
                description="A checkpoint of Segment Anything, which the masks then come from.",
            ),
            DeclareLaunchArgument(
                "store",
                default_value="",
                description="Folder of the weight store; default: the parameter file's, or "
                "$ROS_HOME/sam_adapt_ros/store.",
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="auto",
                choices=["auto", "true", "false"],
                description="Whether time comes from /clock; auto: when a bag is played.",
            ),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the nodes."),
            DeclareLaunchArgument(
                "rviz", default_value="false", choices=["true", "false"], description="Whether to open RViz."
            ),
            DeclareLaunchArgument(
                "bag", default_value="", description="A rosbag2 to play once the segmenter is active."
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                choices=["debug", "info", "warn", "error", "fatal"],
                description="The nodes' log level.",
            ),
            OpaqueFunction(function=start),
        ]
    )


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    share = Path(get_package_share_directory(PACKAGE))
    bag = LaunchConfiguration("bag").perform(context)
    use_sim_time = LaunchConfiguration("use_sim_time").perform(context)
    simulated = bool(bag) if use_sim_time == "auto" else use_sim_time == "true"
    log_arguments = ["--log-level", LaunchConfiguration("log_level")]
    mode = LaunchConfiguration("mode").perform(context)
    file = parameter_file(LaunchConfiguration("params_file").perform(context), share)
    learning = learning_parameters(
        file,
        mode,
        LaunchConfiguration("weights").perform(context),
        LaunchConfiguration("sam_checkpoint").perform(context),
        LaunchConfiguration("store").perform(context),
    )
    parameters: list = [str(file), learning]
    calibration = Path(bag) / "calibration.yaml"
    if bag and calibration.is_file():
        # What `sam-adapt convert` and `sam-adapt town` leave in their bags.
        parameters.append({"transforms.calibration_file": str(calibration.absolute())})
    parameters.append({"use_sim_time": simulated})

    common: dict[str, Any] = {
        "namespace": LaunchConfiguration("namespace"),
        "parameters": parameters,
        "ros_arguments": log_arguments,
        "output": "both",
        "emulate_tty": True,
        "respawn": True,
        "respawn_delay": 2.0,
    }
    segmenter = LifecycleNode(package=PACKAGE, executable="segmenter", name="segmenter", **common)
    actions: list[LaunchDescriptionEntity] = [
        # Without it, images do not fit into shared memory: they arrive late, or in part not at all.
        SetEnvironmentVariable("FASTRTPS_DEFAULT_PROFILES_FILE", str(share / "config" / "fastdds.xml")),
        SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", str(share / "config" / "fastdds.xml")),
        segmenter,
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz2",
            arguments=["-d", str(share / "config" / "adapt.rviz")],
            parameters=[{"use_sim_time": simulated}],
            condition=IfCondition(LaunchConfiguration("rviz")),
        ),
    ]
    if mode != "off":
        actions.append(Node(package=PACKAGE, executable="adapter", name="adapter", **common))
    if bag:
        play: list[LaunchDescriptionEntity] = [
            LogInfo(msg=f"playing {bag}"),
            ExecuteProcess(cmd=["ros2", "bag", "play", bag, "--clock"], output="screen"),
        ]
        if (given(file, "adaptation.mode") if mode == "auto" else mode) == "observe":
            # What is played before the adapter has opened its store would not be observed.
            namespace = ["--namespace", LaunchConfiguration("namespace")]
            listener = Node(
                package=PACKAGE, executable="await_adapter", arguments=namespace, output="screen", on_exit=play
            )
            play = [listener]
        # Not before the segmenter listens: loading the model takes seconds.
        actions.append(
            RegisterEventHandler(
                OnStateTransition(
                    target_lifecycle_node=segmenter,
                    goal_state="active",
                    entities=play,
                    handle_once=True,
                )
            )
        )
    return actions


def parameter_file(name: str, share: Path) -> Path:
    """A preset's file by its name, else the path itself."""
    preset = share / "config" / (name if name.endswith(".yaml") else f"{name}.yaml")
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if preset.is_file():
        return preset
    presets = ", ".join(sorted(p.stem for p in (share / "config").glob("*.yaml")))
    raise FileNotFoundError(f"params_file: {name}: neither a file nor a preset ({presets})")


def learning_parameters(file: Path, mode: str, weights: str, sam_checkpoint: str, store: str) -> dict[str, Any]:
    """What the arguments say, as parameters that override the file's."""
    parameters: dict[str, Any] = {}
    if mode not in ("auto", "off"):
        parameters["adaptation.mode"] = mode
    if weights:
        parameters["segmenter.weights"] = weights
    if sam_checkpoint:
        parameters["masks.generator"] = "sam_lidar+segments"
        parameters["masks.sam.checkpoint"] = sam_checkpoint
    if mode == "off":
        parameters["adaptation.store.folder"] = ""  # the segmenter follows nothing
    elif store or not given(file, "adaptation.store.folder"):
        ros_home = Path(os.environ.get("ROS_HOME") or Path.home() / ".ros")
        parameters["adaptation.store.folder"] = str(Path(store or ros_home / PACKAGE / "store").expanduser())
    return parameters


def given(file: Path, name: str) -> Any:
    """The value that a ROS parameter file has for a parameter, be its name nested or dotted; None: it has none."""
    for node in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).values():
        found = look_up(node.get("ros__parameters") or {}, name)
        if found is not None:
            return found
    return None


def look_up(section: Any, name: str) -> Any:
    if not name or not isinstance(section, dict):
        return None if name else section
    parts = name.split(".")
    heads = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    values = (look_up(section[head], name[len(head) + 1 :]) for head in heads if head in section)
    return next((value for value in values if value is not None), None)
