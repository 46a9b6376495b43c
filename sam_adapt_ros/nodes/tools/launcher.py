"""``sam-adapt run``: what ``adapt.launch.py`` does, where there is no ``ros2 launch``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

from sam_adapt_ros.config.parameter_file import ADAPTER, NODES, SEGMENTER
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.nodes.launch_arguments import LaunchArguments, absolute_name, observes
from sam_adapt_ros.nodes.tools import node_process
from sam_adapt_ros.nodes.tools.bag_playback import play_to_nodes
from sam_adapt_ros.nodes.tools.node_process import NodeProcess
from sam_adapt_ros.nodes.tools.stop_event import stop_on_signals

logger = logging.getLogger(__name__)


def run(
    arguments: LaunchArguments,
    overrides: Mapping[str, Any] | None = None,
    *,
    rate: float = 1.0,
    loop: int = 1,
    until_played: bool = False,
) -> int:
    """Runs segmenter and adapter until SIGINT or SIGTERM, and plays a bag to them on request.

    A node that ends is started again, unless ``respawn`` is false or its parameters do not fit. A segmenter that will
    not be started again, or that ends soon after the first start, ends the run; an adapter does not.

    Args:
        overrides: dotted name -> value of parameters, over those of the parameter file.
        rate: times the recorded speed. loop: how often the bag is played; 0: until it is stopped.
        until_played: ends when the bag does and, in mode ``observe``, the adapter has summed it up.
    Returns:
        The exit code.
    Raises:
        ConfigError: the parameters do not fit.
        BagError: the bag cannot be played; with ``until_played``, none of its sweeps was labelled.
    """
    config, adapting = (arguments.configure(overrides, node) for node in NODES)
    stop = stop_on_signals()
    options: dict[str, Any] = {
        "of_ros": arguments.of_ros(SEGMENTER),
        "namespace": arguments.namespace,
        "log_level": arguments.log_level,
    }
    namespace = absolute_name("", arguments.namespace)
    adapts = bool(adapting.adaptation.store.folder)
    settles = until_played and observes(adapting)
    with ExitStack() as stack:
        player = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="player"))
        stack.callback(stop.set)  # ends the player when a node cannot be started
        playing: Future[None] | None = None
        if arguments.bag:
            bag, topic = arguments.bag, config.lidar.topic
            play = partial(play_to_nodes, bag, topic, namespace, adapts, settles, stop, rate, loop)
            playing = player.submit(play_and_check, play, bag, namespace, stop, until_played)
        segmenter = stack.enter_context(NodeProcess("segmenter", config, **options))
        started = time.monotonic()
        nodes = [segmenter]
        if adapts:
            options["of_ros"] = arguments.of_ros(ADAPTER)
            nodes.append(stack.enter_context(NodeProcess("adapter", adapting, **options)))
            stack.callback(segmenter.request_stop)  # both end at the same time
        stack.callback(stop.set)  # first of all
        while not stop.wait(0.1):
            if playing is not None and playing.done():
                playing.result()
                if until_played:
                    break
                playing = None
            if segmenter.exit_code is not None:
                soon = time.monotonic() - started < node_process.SETTLED_S
                if soon or segmenter.is_misconfigured or arguments.respawn == "false":
                    event = node_process.describe_exit(segmenter.exit_code) + (" soon after its start" if soon else "")
                    logger.error("the segmenter %s, its log has the reason: the run ends", event)
                    return segmenter.exit_code or 1
            for node in nodes:
                if arguments.respawn == "true":
                    node.keep_running()
    return 0


def play_and_check(play: Callable[[], None], bag: str, namespace: str, stop: threading.Event, must_label: bool) -> None:
    """Plays the bag, then says when no sweep was labelled. Raises BagError; with ``must_label`` for that, too."""
    # rclpy takes a moment to import: the nodes start meanwhile.
    from sam_adapt_ros.nodes.tools.segmenter_client import SegmenterClient

    with SegmenterClient(namespace) as segmenter:
        play()
        failure = "" if stop.is_set() else segmenter.failure(stop)
    if failure and not stop.is_set():
        if must_label:
            raise BagError(f"{bag}: {failure}")
        logger.warning("%s: %s", bag, failure)
