"""Starts the segmenter with the Fast DDS profile; plays a bag to it and opens RViz on request.

ros2 launch sam_adapt_ros adapt.launch.py params_file:=nuscenes bag:=/data/scene-0061 rviz:=true
"""

# ruff: noqa: I001 (the folder `launch` makes the package of that name look like ours)

from pathlib import Path

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
    parameters: list = [str(parameter_file(LaunchConfiguration("params_file").perform(context), share))]
    calibration = Path(bag) / "calibration.yaml"
    if bag and calibration.is_file():
        # What `sam-adapt convert` and `sam-adapt town` leave in their bags.
        parameters.append({"transforms.calibration_file": str(calibration.absolute())})
    parameters.append({"use_sim_time": simulated})

    segmenter = LifecycleNode(
        package=PACKAGE,
        executable="segmenter",
        name="segmenter",
        namespace=LaunchConfiguration("namespace"),
        parameters=parameters,
        ros_arguments=log_arguments,
        output="both",
        emulate_tty=True,
        respawn=True,
        respawn_delay=2.0,
    )
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
    if bag:
        play = ExecuteProcess(cmd=["ros2", "bag", "play", bag, "--clock"], output="screen")
        # Not before the segmenter listens: loading the model takes seconds.
        actions.append(
            RegisterEventHandler(
                OnStateTransition(
                    target_lifecycle_node=segmenter,
                    goal_state="active",
                    entities=[LogInfo(msg=f"playing {bag}"), play],
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
