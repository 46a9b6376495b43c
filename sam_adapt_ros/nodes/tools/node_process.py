"""Our nodes as child processes: started with the Fast DDS profile and their parameters, kept running, ended."""

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
from typing import IO, Any, TypeVar

import yaml

from sam_adapt_ros.config import Config
from sam_adapt_ros.nodes import fastdds as dds

logger = logging.getLogger(__name__)

P = TypeVar("P", bound="NodeProcess")
STOP_TIMEOUT_S = 15.0
SETTLED_S = 20.0
"""A node that ran so long and then died is started again at once; one that dies sooner would only die again."""
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 60.0
SUPERVISOR = "SAM_ADAPT_SUPERVISOR"
"""Environment variable that tells a node by which process (id) it was started, so that it ends with it: killed, a
supervisor can ask nobody to stop any more. Not set for nodes that are started by hand or by a launch."""


class NodeProcess:
    """A node as a child process; a context manager that ends it.

    node: its name, and its module's. log: file object for its output; None: it shares ours.
    deaths: how often it ended without being asked to.
    """

    node = ""
    deaths = 0
    _started = _due = 0.0
    _delay = FIRST_DELAY_S

    def __init__(
        self,
        config: Config,
        *,
        use_sim_time: bool = False,
        namespace: str = "",
        log_level: str = "info",
        environment: Mapping[str, str] | None = None,
        log: IO[str] | IO[bytes] | None = None,
    ) -> None:
        self._config, self._log = config, log
        self._arguments = ["--log-level", log_level, "-p", f"use_sim_time:={str(use_sim_time).lower()}"]
        if namespace:
            self._arguments += ["-r", f"__ns:=/{namespace.strip('/')}"]
        self._environment = {**os.environ, **(environment or {})}
        dds.use_profile(self._environment)
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        # Without a name: whoever is killed leaves nothing behind.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
            yaml.safe_dump(parameter_file(self._config), file)
            file.seek(0)
            parameters = f"/dev/fd/{file.fileno()}"
            command = [sys.executable, "-m", f"sam_adapt_ros.nodes.{self.node}_node", "--ros-args"]
            self.process = subprocess.Popen(
                [*command, "--params-file", parameters, *self._arguments],
                env={**self._environment, SUPERVISOR: str(os.getpid())},
                stdout=self._log,
                stderr=subprocess.STDOUT if self._log is not None else None,
                pass_fds=[file.fileno()],
                # Ctrl-C goes to the whole foreground group; the child is to get it once, from us.
                start_new_session=True,
            )
        self._started, self._due = time.monotonic(), 0.0

    def keep_running(self) -> None:
        """Call it often: starts it again some time after its death, the later, the sooner it keeps dying."""
        if self.exit_code is None:
            return
        now = time.monotonic()
        if not self._due:
            self.deaths += 1
            self._put_off(f"it ended with code {self.exit_code}", settled=now - self._started > SETTLED_S)
        elif now >= self._due:
            self.stop()
            try:
                self.start()
            except OSError as error:  # no memory, no process, no room for its parameters: all of it may pass
                self._put_off(f"it could not be started: {error}")

    def _put_off(self, why: str, *, settled: bool = False) -> None:
        self._delay = FIRST_DELAY_S if settled or self.deaths == 1 else min(2 * self._delay, LONGEST_DELAY_S)
        self._due = time.monotonic() + self._delay
        logger.error("the %s is started again in %g s: %s", self.node, self._delay, why)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self.process is None else self.process.poll()

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def stop(self) -> int:
        """Asks it to end, insists after a while; returns its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.ask_to_stop()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                logger.warning("the %s does not end; killed", self.node)
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def __enter__(self: P) -> P:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class SegmenterProcess(NodeProcess):
    node = "segmenter"


class AdapterProcess(NodeProcess):
    node = "adapter"


def parameter_file(config: Config) -> dict[str, Any]:
    """The content of a ROS 2 parameter file for any node name; defaults are left out (``[]`` has no type in ROS)."""
    return {"/**": {"ros__parameters": config.model_dump(exclude_defaults=True)}}
