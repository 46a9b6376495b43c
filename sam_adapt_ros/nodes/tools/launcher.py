"""``sam-adapt run``: what ``adapt.launch.py`` does, where there is no ``ros2 launch``."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import SamAdaptError
from sam_adapt_ros.messages.calibration_file import CALIBRATION_FILE
from sam_adapt_ros.nodes.tools import node_process as process
from sam_adapt_ros.nodes.tools.node_process import AdapterProcess, SegmenterProcess

logger = logging.getLogger(__name__)

OFF = "off"


def run(
    params_file: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    mode: str = "",
    weights: str = "",
    sam_checkpoint: str = "",
    store: str = "",
    use_sim_time: bool | None = None,
    namespace: str = "",
    log_level: str = "info",
    bag: str | Path | None = None,
    rate: float = 1.0,
    loop: int = 1,
    until_played: bool = False,
) -> int:
    """Runs segmenter and adapter until SIGINT or SIGTERM, and plays a bag to them on request.

    Both are started again should they die; that the adapter does, or cannot even start, never ends the run.
    params_file: a preset's name or a YAML file. mode, weights, sam_checkpoint, store: as for ``with_arguments``.
    use_sim_time: None: when a bag is played. until_played: ends when the bag does and, in mode ``observe``, the adapter
    has summed it up. Returns the exit code.
    Raises ConfigError when the parameters do not fit, BagError when the bag cannot be played.
    """
    config = with_arguments(Config.load(params_file, dict(overrides or {})), mode, weights, sam_checkpoint, store)
    if bag is not None:
        config = with_calibration_of(config, bag)
    simulated = bag is not None if use_sim_time is None else use_sim_time
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    segmenter = SegmenterProcess(config, use_sim_time=simulated, namespace=namespace, log_level=log_level)
    adapter = AdapterProcess(config, use_sim_time=simulated, namespace=namespace, log_level=log_level)
    playing = _Playing(bag, config, namespace, rate, loop, until_played, stop) if bag is not None else None
    started = time.monotonic()
    with ExitStack() as ended_together:
        ended_together.enter_context(segmenter)
        if config.adaptation.store.folder:
            ended_together.enter_context(adapter)
            ended_together.callback(segmenter.ask_to_stop)
        while not stop.wait(0.1):
            if playing is not None and playing.ended:
                if until_played or playing.failure:
                    break
                playing = None
            adapter.keep_running()
            if segmenter.exit_code is not None and time.monotonic() - started < process.SETTLED_S:
                stop.set()  # it would only die again
                return segmenter.exit_code or 1
            segmenter.keep_running()
        stop.set()
        if playing is not None and playing.failure:
            raise playing.failure
    return 0


def with_arguments(
    config: Config, mode: str = "", weights: str = "", sam_checkpoint: str = "", store: str = ""
) -> Config:
    """The configuration, with what the launch arguments of the same names say; "" leaves it as it is.

    mode: of learning, or ``off``: nothing learns, and the segmenter follows no store. weights: of the source model.
    sam_checkpoint: masks then come from SAM. store: the weight store's folder; where the configuration names none
    either, it is ``default_store()``.
    Raises ConfigError when they do not fit.
    """
    values: dict[str, Any] = {}
    if mode and mode != OFF:
        values["adaptation.mode"] = mode
    if weights:
        values["segmenter.weights"] = weights
    if sam_checkpoint:
        values |= {"masks.sam.checkpoint": sam_checkpoint, "masks.generator": "sam_lidar+segments"}
    folder = store or config.adaptation.store.folder or default_store()
    values["adaptation.store.folder"] = "" if mode == OFF else str(Path(folder).expanduser())
    return Config.from_flat({**config.to_flat(), **values}, source="arguments")


def default_store() -> Path:
    """``$ROS_HOME/sam_adapt_ros/store``, ``~/.ros`` being ROS's home by default."""
    return Path(os.environ.get("ROS_HOME") or Path.home() / ".ros") / "sam_adapt_ros" / "store"


def with_calibration_of(config: Config, bag: str | Path) -> Config:
    """The configuration, with the bag's own calibration file where it names none."""
    calibration = Path(bag).absolute() / CALIBRATION_FILE
    if config.transforms.calibration_file or not calibration.is_file():
        return config
    return Config.from_flat({**config.to_flat(), "transforms.calibration_file": str(calibration)})


class _Playing:
    """A bag being played in a thread, from when the nodes are ready to, if asked for, when they are done with it."""

    def __init__(
        self,
        bag: str | Path,
        config: Config,
        namespace: str,
        rate: float,
        loop: int,
        until_played: bool,
        stop: threading.Event,
    ) -> None:
        self.failure: SamAdaptError | None = None
        self._arguments: dict[str, Any] = {"rate": rate, "loop": loop, "clock": True, "stop": stop}
        self._bag, self._lidar, self._namespace = bag, config.lidar.topic, namespace
        self._observed = bool(config.adaptation.store.folder) and config.adaptation.mode == "observe"
        self._until_played, self._stop = until_played, stop
        self._thread = threading.Thread(target=self._play, name="player", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def _play(self) -> None:
        from sam_adapt_ros.nodes.tools.adapter_client import AdapterListener
        from sam_adapt_ros.nodes.tools.player import play

        with AdapterListener(self._namespace) if self._observed else nullcontext() as adapter:
            # What came before it is open would not be observed.
            ready = (lambda: adapter.wait_until_open(self._stop)) if adapter is not None else (lambda: None)
            try:
                # By its name: the adapter subscribes sooner, the segmenter has a model to load first.
                play(
                    self._bag,
                    wait_for=[self._lidar],
                    subscriber="segmenter",
                    wait_timeout=120.0,
                    ready=ready,
                    **self._arguments,
                )
            except SamAdaptError as error:
                self.failure = error
                return
            logger.info("the bag has been played")
            if adapter is not None and self._until_played:
                adapter.wait_until_settled(self._stop)
