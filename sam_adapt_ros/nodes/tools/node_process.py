"""A node as a child process: started with the Fast DDS profile and its parameters, restarted, and ended."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any

from sam_adapt_ros.config import Config
from sam_adapt_ros.nodes import fastdds
from sam_adapt_ros.nodes.parameter_files import parameter_text

logger = logging.getLogger(__name__)

STOP_TIMEOUT_S = 15.0
SETTLED_S = 20.0
"""A node that ends sooner after its start probably ends again: the delay before its next start doubles."""
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 60.0
SUPERVISOR = "SAM_ADAPT_SUPERVISOR"
"""Environment variable with the id of the process that started a node. The node ends with that process, since a killed
supervisor cannot stop it. Not set for nodes that are started with ``ros2 run`` or ``ros2 launch``."""


class NodeProcess:
    """A child process that runs ``sam_adapt_ros.nodes.<node>_node``; a context manager that starts and stops it.

    node: ``segmenter`` or ``adapter``. of_ros: parameters of ROS's own, such as ``use_sim_time``, by name.
    log: file for its output; None: it shares this process's.
    restarts: how often it was found to have ended by itself.
    """

    def __init__(
        self,
        node: str,
        config: Config,
        *,
        of_ros: Mapping[str, Any] | None = None,
        namespace: str = "",
        log_level: str = "info",
        log: IO[str] | IO[bytes] | None = None,
    ) -> None:
        self.node = node
        self.restarts = 0
        self.process: subprocess.Popen | None = None
        self._config, self._of_ros, self._log = config, dict(of_ros or {}), log
        self._arguments = ["--log-level", log_level]
        if namespace:
            self._arguments += ["-r", f"__ns:=/{namespace.strip('/')}"]
        self._environment = {**os.environ, SUPERVISOR: str(os.getpid())}
        fastdds.use_profile(self._environment)
        self._started = self._restart_at = 0.0
        self._delay = FIRST_DELAY_S
        self._given_up = False

    def start(self) -> None:
        """Raises OSError when there is no memory, process or disk space for it."""
        # The file has no name: a supervisor that is killed leaves nothing behind.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
            file.write(parameter_text(self._config, self._of_ros))
            file.seek(0)
            command = [sys.executable, "-m", f"sam_adapt_ros.nodes.{self.node}_node", "--ros-args"]
            self.process = subprocess.Popen(
                [*command, "--params-file", f"/dev/fd/{file.fileno()}", *self._arguments],
                env=self._environment,
                stdout=self._log,
                stderr=subprocess.STDOUT if self._log is not None else None,
                pass_fds=[file.fileno()],
                # Ctrl-C reaches the whole foreground group; the child gets it once, from this process.
                start_new_session=True,
            )
        self._started, self._restart_at = time.monotonic(), 0.0

    @property
    def is_misconfigured(self) -> bool:
        """Whether it ended at its first start because of its parameters, and would again."""
        return self.exit_code == os.EX_CONFIG and not self.restarts

    def keep_running(self) -> None:
        """Starts the node again, after a delay, when it has ended, unless its parameters do not fit; to be called
        often."""
        if self.exit_code is None or self._given_up:
            return
        if self.is_misconfigured:
            self._given_up = True
            logger.error("the %s cannot start with these parameters, its log has the reason; it stays away", self.node)
            return
        now = time.monotonic()
        if not self._restart_at:
            self.restarts += 1
            if now - self._started > SETTLED_S:
                self._delay = FIRST_DELAY_S
            self._schedule_restart(f"{describe_exit(self.exit_code)}; its log has the reason")
        elif now >= self._restart_at:
            try:
                self.start()
            except OSError as error:
                self._schedule_restart(f"could not be started: {error}")

    def _schedule_restart(self, event: str) -> None:
        logger.error("the %s %s; it is started again in %g s", self.node, event, self._delay)
        self._restart_at = time.monotonic() + self._delay
        self._delay = min(2 * self._delay, LONGEST_DELAY_S)

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return None if self.process is None else self.process.poll()

    def request_stop(self) -> None:
        """Sends SIGINT, and does not wait."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def stop(self) -> int:
        """Sends SIGINT and waits; kills the process after STOP_TIMEOUT_S. Returns the exit code."""
        assert self.process is not None
        self.request_stop()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            logger.warning("the %s has not ended %g s after SIGINT; it is killed", self.node, STOP_TIMEOUT_S)
            self.process.kill()
            self.process.wait()
        return self.process.returncode

    def __enter__(self) -> NodeProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def describe_exit(code: int) -> str:
    """How a process ended, in words; code: as ``subprocess`` gives it."""
    if code >= 0:
        return f"ended with code {code}"
    cause = " (as the kernel does when memory runs out)" if code == -signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{cause}"
