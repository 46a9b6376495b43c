"""``sam-adapt run``: what ``adapt.launch.py`` does, where there is no ``ros2 launch``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from sam_adapt_ros.config import Config
from sam_adapt_ros.nodes.launch_arguments import LaunchArguments, observes
from sam_adapt_ros.nodes.tools import node_process
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

    A node that ends is started again. An adapter that cannot start does not end the run, a segmenter that ends soon
    after the first start does.

    Args:
        overrides: dotted name -> value of parameters, over those of the parameter file.
        rate: times the recorded speed. loop: how often the bag is played; 0: until it is stopped.
        until_played: ends when the bag does and, in mode ``observe``, the adapter has summed it up.
    Returns:
        The exit code.
    Raises:
        ConfigError: the parameters do not fit.
        BagError: the bag cannot be played.
    """
    config = arguments.configure(overrides)
    stop = stop_on_signals()
    options: dict[str, Any] = {
        "use_sim_time": arguments.simulated_time,
        "namespace": arguments.namespace,
        "log_level": arguments.log_level,
    }
    with ExitStack() as stack:
        player = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="player"))
        stack.callback(stop.set)  # ends the player when a node cannot be started
        playing: Future[None] | None = None
        if arguments.bag:
            playing = player.submit(play_to_nodes, arguments, config, stop, rate, loop, until_played)
        segmenter = stack.enter_context(NodeProcess("segmenter", config, **options))
        started = time.monotonic()
        nodes = [segmenter]
        if config.adaptation.store.folder:
            nodes.append(stack.enter_context(NodeProcess("adapter", config, **options)))
            stack.callback(segmenter.request_stop)  # both end at the same time
        stack.callback(stop.set)  # first of all
        while not stop.wait(0.1):
            if playing is not None and playing.done():
                playing.result()
                if until_played:
                    break
                playing = None
            if segmenter.exit_code is not None and time.monotonic() - started < node_process.SETTLED_S:
                event = node_process.describe_exit(segmenter.exit_code)
                logger.error("the segmenter %s soon after its start, and would again: the run ends", event)
                return segmenter.exit_code or 1
            for node in nodes:
                node.keep_running()
    return 0


def play_to_nodes(
    arguments: LaunchArguments,
    config: Config,
    stop: threading.Event,
    rate: float = 1.0,
    loop: int = 1,
    until_settled: bool = False,
) -> None:
    """Plays the bag once the nodes are ready for it. Raises BagError.

    until_settled: returns only when an adapter that observes has summed up the bag.
    """
    # rclpy takes a moment to import: the nodes start meanwhile.
    from sam_adapt_ros.nodes.tools.adapter_client import AdapterClient
    from sam_adapt_ros.nodes.tools.player import play

    with ExitStack() as stack:
        adapter = stack.enter_context(AdapterClient(arguments.namespace)) if observes(config) else None
        played = play(
            arguments.bag,
            rate=rate,
            loop=loop,
            clock=True,
            # Subscribed to by the segmenter: it has a model to load first, the adapter is there sooner.
            wait_for=[config.lidar.topic],
            subscribers=["segmenter"],
            wait_timeout=120.0,
            # An adapter would not observe what came before it has opened its store.
            ready=lambda: adapter.wait_until_open(stop) if adapter is not None else None,
            stop=stop,
        )
        if played.stopped:
            return
        logger.info("the bag has been played")
        if adapter is not None and until_settled:
            adapter.wait_until_settled(stop)
