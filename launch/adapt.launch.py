"""Starts segmenter and adapter with the Fast DDS profile; plays a bag to them and opens RViz on request.

ros2 launch sam_adapt_ros adapt.launch.py params_file:=nuscenes bag:=/data/scene-0061 rviz:=true
"""

# ruff: noqa: I001 (the folder `launch` makes the package of that name look like ours)

import os
from typing import Any, get_args

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition

from sam_adapt_ros.config import Config, find_configuration
from sam_adapt_ros.nodes.fastdds import PROFILE_VARIABLES, use_profile
from sam_adapt_ros.nodes.launch_arguments import OFF, LaunchArguments, observes
from sam_adapt_ros.resources import PACKAGE, share_directory


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument(
            name, default_value=field.default, description=field.description, choices=get_args(field.annotation) or None
        )
        for name, field in LaunchArguments.model_fields.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    arguments = LaunchArguments(
        **{name: LaunchConfiguration(name).perform(context) for name in LaunchArguments.model_fields}
    )
    file = find_configuration(arguments.params_file)
    config = Config.load(file)
    overrides = arguments.parameters(config)
    use_sim_time = {"use_sim_time": arguments.simulated_time}
    common: dict[str, Any] = {
        "namespace": arguments.namespace,
        "parameters": [str(file), overrides, use_sim_time],
        "ros_arguments": ["--log-level", arguments.log_level],
        "output": "both",
        "emulate_tty": True,
        "respawn": True,
        "respawn_delay": 2.0,
    }
    segmenter = LifecycleNode(package=PACKAGE, executable="segmenter", name="segmenter", **common)
    actions: list[LaunchDescriptionEntity] = [*set_profile(), segmenter]
    if arguments.mode != OFF:
        actions.append(Node(package=PACKAGE, executable="adapter", name="adapter", **common))
    if arguments.rviz == "true":
        view = str(share_directory() / "config" / "adapt.rviz")
        actions.append(
            Node(package="rviz2", executable="rviz2", name="rviz2", arguments=["-d", view], parameters=[use_sim_time])
        )
    if arguments.bag:
        # Not before the segmenter is active: loading the model takes seconds.
        actions.append(
            RegisterEventHandler(
                OnStateTransition(
                    target_lifecycle_node=segmenter,
                    goal_state="active",
                    entities=play(arguments, wait=observes(config.updated(overrides))),
                    handle_once=True,
                )
            )
        )
    return actions


def set_profile() -> list[LaunchDescriptionEntity]:
    """Has Fast DDS use the package's profile, without which images are late or lost, unless the user names another."""
    environment = dict(os.environ)
    use_profile(environment)
    return [SetEnvironmentVariable(name, environment[name]) for name in PROFILE_VARIABLES if name in environment]


def play(arguments: LaunchArguments, wait: bool) -> list[LaunchDescriptionEntity]:
    """Plays the bag. wait: only once the adapter has opened its store; it would not observe what came before."""
    player: list[LaunchDescriptionEntity] = [
        LogInfo(msg=f"playing {arguments.bag}"),
        ExecuteProcess(cmd=["ros2", "bag", "play", arguments.bag, "--clock"], output="screen"),
    ]
    if not wait:
        return player
    namespace = ["--namespace", arguments.namespace]
    return [Node(package=PACKAGE, executable="await_adapter", arguments=namespace, output="screen", on_exit=player)]
