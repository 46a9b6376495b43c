"""Starts segmenter and adapter with the Fast DDS profile; plays a bag to them and opens RViz on request.

ros2 launch sam_adapt_ros adapt.launch.py params_file:=nuscenes bag:=/data/scene-0061 rviz:=true

Everything is started where the file is included, with values instead of substitutions: an action that came later would
find neither the launch configurations nor the namespace of the group that it belongs to.
"""

# ruff: noqa: I001 (the folder `launch` makes the package of that name look like ours)

import os
import tempfile
from collections.abc import Callable
from typing import Any, get_args

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, EmitEvent, LogInfo, OpaqueFunction
from launch.events.matchers import matches_action
from launch.events.process import ProcessExited, ShutdownProcess
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from sam_adapt_ros.config import Config
from sam_adapt_ros.nodes.fastdds import profile_variables
from sam_adapt_ros.nodes.launch_arguments import OFF, LaunchArguments, absolute_name
from sam_adapt_ros.nodes.parameter_files import parameter_text
from sam_adapt_ros.nodes.rviz import rviz_text
from sam_adapt_ros.resources import PACKAGE


def generate_launch_description() -> LaunchDescription:
    arguments = []
    for name, field in LaunchArguments.model_fields.items():
        # Not as launch's `choices`, which refuse True for true.
        choices = f" One of: {', '.join(get_args(field.annotation))}." if get_args(field.annotation) else ""
        arguments.append(
            DeclareLaunchArgument(name, default_value=field.default, description=f"{field.description}{choices}")
        )
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    given = {name: LaunchConfiguration(name).perform(context) for name in LaunchArguments.model_fields}
    namespace = absolute_name(context.launch_configurations.get("ros_namespace", ""), given["namespace"])
    arguments = LaunchArguments.parse({**given, "namespace": namespace})
    config = arguments.configure(node="segmenter")
    profile = profile_variables(os.environ)
    common: dict[str, Any] = {"package": PACKAGE, "namespace": namespace, "additional_env": profile}
    nodes: list[Node] = []

    def ros_node(kind: type[Node], name: str) -> Node:
        return kind(
            executable=name,
            name=name,
            parameters=[parameter_file(arguments, name)],
            ros_arguments=["--log-level", arguments.log_level],
            output="both",
            emulate_tty=True,
            respawn=arguments.respawn == "true",
            respawn_delay=2.0,
            on_exit=give_up_on_misconfiguration(name, nodes),
            **common,
        )

    nodes.append(ros_node(LifecycleNode, "segmenter"))
    if arguments.mode != OFF:
        nodes.append(ros_node(Node, "adapter"))
    if arguments.rviz == "true":
        # A calibration file that a bag brings says nothing about TF: such a bag has it, too.
        vehicle = Config.load(arguments.params_file, node="segmenter", namespace=namespace)
        view = temporary("adapt_", ".rviz", rviz_text(vehicle, namespace))
        time = {"use_sim_time": arguments.of_ros("segmenter")["use_sim_time"]}
        rviz: dict[str, Any] = {"arguments": ["-d", view], "parameters": [time], "additional_env": profile}
        nodes.append(Node(package="rviz2", executable="rviz2", name="rviz2", **rviz))
    if arguments.bag:
        playing = [arguments.bag, "--lidar-topic", config.lidar.topic, "--namespace", namespace]
        playing += ["--adapts"] * (arguments.mode != OFF)
        nodes.append(Node(executable="play_bag", arguments=playing, output="screen", emulate_tty=True, **common))
    return [LogInfo(msg=f"parameters: {arguments.params_file}"), *nodes]


def parameter_file(arguments: LaunchArguments, node: str) -> str:
    """The file with the node's parameters: those that it would read itself, and those of the arguments."""
    text = parameter_text(arguments.configure(node=node), arguments.of_ros(node))
    return temporary("launch_params_", ".yaml", text)


def temporary(prefix: str, suffix: str, text: str) -> str:
    """A file that outlives the launch, as those of launch_ros do: a node that is started again reads it again."""
    with tempfile.NamedTemporaryFile("w", prefix=prefix, suffix=suffix, encoding="utf-8", delete=False) as file:
        file.write(text)
    return file.name


def give_up_on_misconfiguration(
    name: str, nodes: list[Node]
) -> Callable[[ProcessExited, LaunchContext], list[LaunchDescriptionEntity]]:
    """What is done when the node ends: if it could not start with its parameters, it is not started again and, without
    a segmenter, the others of ``nodes`` end, too; else nothing. Whatever else is in the launch goes on."""
    ends: list[int] = []

    def on_exit(event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        ends.append(event.returncode)
        if ends != [os.EX_CONFIG]:
            return []
        ended = nodes if name == "segmenter" else [node for node in nodes if node is event.action]
        told = LogInfo(msg=f"the {name} cannot start with these parameters, see above; it is not started again")
        return [told, *(EmitEvent(event=ShutdownProcess(process_matcher=matches_action(node))) for node in ended)]

    return on_exit
