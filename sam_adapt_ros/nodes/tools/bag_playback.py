"""Plays a bag to segmenter and adapter once both would see all of it, in a launch or in ``sam-adapt run``."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack

from sam_adapt_ros.errors import SamAdaptError
from sam_adapt_ros.nodes.launch_arguments import absolute_name
from sam_adapt_ros.nodes.tools.stop_event import stop_on_signals

logger = logging.getLogger(__name__)

SUBSCRIBED_TIMEOUT_S = 300.0
"""The segmenter has a model to load first; where other processes take the processor, that may take minutes."""


def play_to_nodes(
    bag: str,
    lidar_topic: str,
    namespace: str = "/",
    adapts: bool = False,
    settles: bool = False,
    stop: threading.Event | None = None,
    rate: float = 1.0,
    loop: int = 1,
) -> None:
    """Plays the bag, from its first message on, to nodes that have subscribed to it. Raises BagError.

    The nodes subscribe once they see publishers, and an adapter takes in frames only once its store is open: so the
    player is there first, paused, and looks who has subscribed. Nothing hangs on a message that might be missed.

    Args:
        lidar_topic: as in the configuration. namespace: of the nodes.
        adapts: there is an adapter to wait for.
        settles: return only when an adapter that observes has summed up the bag.
        rate: times the recorded speed. loop: how often it is played; 0: until ``stop``.
    """
    # rclpy takes a moment to import: the nodes start meanwhile.
    from sam_adapt_ros.nodes.tools.adapter_client import AdapterClient
    from sam_adapt_ros.nodes.tools.player import play

    stop = stop or threading.Event()
    adapter_name = absolute_name(namespace, "adapter")
    with ExitStack() as stack:
        adapter = stack.enter_context(AdapterClient(namespace)) if adapts else None
        played = play(
            bag,
            rate=rate,
            loop=loop,
            clock=True,
            wait_for=[absolute_name(namespace, lidar_topic)],
            subscribers=[absolute_name(namespace, "segmenter")],
            wait_timeout=SUBSCRIBED_TIMEOUT_S,
            ready=lambda: [adapter_name] if adapter is not None and adapter.wait_until_open(stop) else [],
            stop=stop,
        )
        if played.stopped:
            return
        logger.info("the bag has been played")
        if adapter is not None and settles:
            adapter.wait_until_settled(stop)


def main(args: Sequence[str] | None = None) -> int:
    """Console entry point, for launch files."""
    # What `ros2 launch` adds for nodes begins here; the namespace is an argument of its own.
    given = list(sys.argv[1:] if args is None else args)
    given = given[: given.index("--ros-args")] if "--ros-args" in given else given
    parser = argparse.ArgumentParser(prog="play_bag", description="Play a bag once segmenter and adapter see it.")
    parser.add_argument("bag")
    parser.add_argument("--lidar-topic", required=True)
    parser.add_argument("--namespace", default="/", help="the nodes' namespace")
    parser.add_argument("--adapts", action="store_true", help="there is an adapter to wait for")
    known = parser.parse_args(given)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        play_to_nodes(known.bag, known.lidar_topic, known.namespace, known.adapts, stop=stop_on_signals())
    except SamAdaptError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
