"""Runs a node as a process: starts it, spins, and ends cleanly on SIGINT and SIGTERM."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn, TypeVar

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from sam_adapt_ros.errors import SamAdaptError
from sam_adapt_ros.nodes import fastdds
from sam_adapt_ros.nodes.log_folder import ensure_log_folder
from sam_adapt_ros.nodes.parameter_files import readable_parameter_files
from sam_adapt_ros.nodes.tools.node_process import STOP_TIMEOUT_S, SUPERVISOR

logger = logging.getLogger(__name__)

N = TypeVar("N", bound=Node)
_SUPERVISOR_CHECK_PERIOD_S = 0.5
_SIGNAL_CHECK_PERIOD_S = 0.2
_GIVE_UP_S = 5.0
"""Where every callback has failed for so long, it is not the messages: the node ends, and may be started again."""


def run_node(
    make: Callable[[], N],
    start: Callable[[N], None],
    stop: Callable[[N], None],
    failed: Callable[[N, Exception], None],
    args: Sequence[str] | None,
) -> int:
    """Returns the exit code: 0 after a signal or the end of its supervisor, EX_CONFIG when it could not start
    with its parameters, 1 when spinning failed.

    make: makes the node. start: called before spinning, may raise SamAdaptError. stop: called with the node no longer
    spinning, its publishers still alive. failed: called with what a callback raised; the node goes on. The signals are
    handled here, because rclpy's own handlers shut the context down while the last frame is still being published.
    """
    fastdds.use_profile()
    ensure_log_folder()
    try:
        with readable_parameter_files(sys.argv if args is None else args) as arguments:
            rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except SamAdaptError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return os.EX_CONFIG
    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    forward_logging()
    fastdds.remove_stale_shared_memory()
    if supervisor := os.environ.get(SUPERVISOR):
        threading.Thread(target=_end_with, args=(int(supervisor), ended), name="supervisor", daemon=True).start()
    code = 0
    executor = SingleThreadedExecutor()
    node: N | None = None
    spinner = threading.Thread()
    try:
        node = make()
        executor.add_node(node)
        what = (executor, partial(failed, node), ended)
        spinner = threading.Thread(target=_spin, args=what, name="executor", daemon=True)
        start(node)
        spinner.start()
        # The kernel may hand a signal to any thread, as it does beside CUDA's: Python then only notes it, and calls the
        # handler once this thread, the main one, runs again.
        while not ended.wait(_SIGNAL_CHECK_PERIOD_S):
            pass
        if getattr(executor, "failure", None) is not None:
            code = 1
    except SamAdaptError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = os.EX_CONFIG
    finally:
        executor.shutdown(timeout_sec=5.0)
        if spinner.ident is not None:
            spinner.join(5.0)
        if node is not None:
            stop(node)
            node.destroy_node()
        rclpy.try_shutdown()
        for number, handler in before.items():
            signal.signal(number, handler)
    return code


def exit_now(code: int) -> NoReturn:
    """Ends the process at once: everything is closed by now, and finalizing an interpreter that has loaded torch can
    take longer than the five seconds that ``ros2 launch`` waits before it escalates to SIGTERM and SIGKILL."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end_with(supervisor: int, ended: threading.Event) -> None:
    """Ends the node, cleanly if it can be, once the process that started it is no longer its parent."""
    while os.getppid() == supervisor:
        time.sleep(_SUPERVISOR_CHECK_PERIOD_S)
    logger.error("the process that started this node (%d) has ended; the node stops, too", supervisor)
    ended.set()
    time.sleep(STOP_TIMEOUT_S)
    os._exit(1)


def _spin(executor: SingleThreadedExecutor, failed: Callable[[Exception], None], ended: threading.Event) -> None:
    """One message never ends the node: rclpy's own callbacks raise, too, as at a ``/clock`` before time 0."""
    failing_since = math.inf
    try:
        while rclpy.ok() and not ended.is_set():
            try:
                executor.spin_once()
                failing_since = math.inf
            except Exception as error:
                failing_since = min(failing_since, time.monotonic())
                if time.monotonic() - failing_since > _GIVE_UP_S:
                    raise
                failed(error)
    except Exception as error:
        executor.failure = error  # type: ignore[attr-defined]
        get_logger("runtime").fatal(f"the executor failed, the node stops: {type(error).__name__}: {error}")
    finally:
        ended.set()


class _ToRos(logging.Handler):
    """Python's log records, as the core writes them, into the ROS log."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = get_logger(record.name)
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            logger.error(text)
        elif record.levelno >= logging.WARNING:
            logger.warning(text)
        elif record.levelno >= logging.INFO:
            logger.info(text)
        else:
            logger.debug(text)


def forward_logging() -> None:
    """Sends the package's own log records to the ROS log, once."""
    ours = logging.getLogger("sam_adapt_ros")
    if not any(isinstance(handler, _ToRos) for handler in ours.handlers):
        ours.addHandler(_ToRos())
        ours.setLevel(logging.INFO)
        ours.propagate = False
