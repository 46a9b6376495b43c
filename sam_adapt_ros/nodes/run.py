"""``sam-adapt run``: what ``adapt.launch.py`` does, where there is no ``ros2 launch``."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml

from sam_adapt_ros.bags.writer import CALIBRATION_FILE
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import SamAdaptError
from sam_adapt_ros.nodes import dds

logger = logging.getLogger(__name__)

STOP_TIMEOUT_S = 15.0
SETTLED_S = 20.0
"""A segmenter that ran so long and then died is started again; one that dies sooner would only die again."""


class SegmenterProcess:
    """The segmenter node as a child process, with the Fast DDS profile; a context manager that ends it.

    log: file object for its output; None: it shares ours.
    """

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
        handle, name = tempfile.mkstemp(prefix="sam_adapt_", suffix=".yaml")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yaml.safe_dump(parameter_file(self._config), file)
        self._parameters = Path(name)
        command = [sys.executable, "-m", "sam_adapt_ros.nodes.segmenter", "--ros-args", "--params-file", name]
        self.process = subprocess.Popen(
            [*command, *self._arguments],
            env=self._environment,
            stdout=self._log,
            stderr=subprocess.STDOUT if self._log is not None else None,
            # Ctrl-C goes to the whole foreground group; the child is to get it once, from us.
            start_new_session=True,
        )

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self.process is None else self.process.poll()

    def stop(self) -> int:
        """Asks it to end, insists after a while; returns its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                logger.warning("the segmenter does not end; killed")
                self.process.kill()
                self.process.wait()
        self._parameters.unlink(missing_ok=True)
        return self.process.returncode

    def __enter__(self) -> SegmenterProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def parameter_file(config: Config) -> dict[str, Any]:
    """The content of a ROS 2 parameter file for any node name; defaults are left out (``[]`` has no type in ROS)."""
    return {"/**": {"ros__parameters": config.model_dump(exclude_defaults=True)}}


def with_calibration_of(config: Config, bag: str | Path) -> Config:
    """The configuration, with the bag's own calibration file where it names none."""
    calibration = Path(bag).absolute() / CALIBRATION_FILE
    if config.transforms.calibration_file or not calibration.is_file():
        return config
    return Config.from_flat({**config.to_flat(), "transforms.calibration_file": str(calibration)})


def run(
    params_file: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    use_sim_time: bool | None = None,
    namespace: str = "",
    log_level: str = "info",
    bag: str | Path | None = None,
    rate: float = 1.0,
    loop: int = 1,
    until_played: bool = False,
) -> int:
    """Runs the segmenter until SIGINT or SIGTERM, starts it again should it die, and plays a bag to it on request.

    params_file: a preset's name or a YAML file. use_sim_time: None: when a bag is played.
    until_played: ends when the bag does. Returns the exit code.
    Raises ConfigError when the parameters do not fit, BagError when the bag cannot be played.
    """
    config = Config.load(params_file, dict(overrides or {}))
    if bag is not None:
        config = with_calibration_of(config, bag)
    simulated = bag is not None if use_sim_time is None else use_sim_time
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    segmenter = SegmenterProcess(config, use_sim_time=simulated, namespace=namespace, log_level=log_level)
    playing = _Playing(bag, config, rate, loop, stop) if bag is not None else None
    started = time.monotonic()
    with segmenter:
        while not stop.wait(0.1):
            if playing is not None and playing.ended:
                logger.info("the bag has been played")
                if until_played or playing.failure:
                    break
                playing = None
            if segmenter.exit_code is None:
                continue
            if time.monotonic() - started < SETTLED_S:
                stop.set()
                return segmenter.exit_code or 1
            logger.error("the segmenter ended with code %s; it is started again", segmenter.exit_code)
            segmenter.stop()
            started = time.monotonic()
            segmenter.start()
        stop.set()
        if playing is not None and playing.failure:
            raise playing.failure
    return 0


class _Playing:
    """A bag being played in a thread."""

    def __init__(self, bag: str | Path, config: Config, rate: float, loop: int, stop: threading.Event) -> None:
        self.failure: SamAdaptError | None = None
        self._arguments: dict[str, Any] = {"rate": rate, "loop": loop, "clock": True, "stop": stop}
        self._bag, self._lidar = bag, config.lidar.topic
        self._thread = threading.Thread(target=self._play, name="player", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def _play(self) -> None:
        from sam_adapt_ros.nodes.player import play

        try:
            play(self._bag, wait_for=[self._lidar], wait_timeout=120.0, **self._arguments)
        except SamAdaptError as error:
            self.failure = error
