"""The segmenter and the weight store: takes what is promoted, watches it live, and goes back when it falls."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_adapt_ros.adaptation import StoreWatcher, WeightStore
from sam_adapt_ros.adaptation.monitoring.rollback_monitor import RollbackMonitor
from sam_adapt_ros.adaptation.weight_store.version import version_hash
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import SamAdaptError, StoreError
from sam_adapt_ros.nodes.segmenter.hot_swap import Model

if TYPE_CHECKING:
    from sam_adapt_ros.segmentation import Prediction

logger = logging.getLogger(__name__)

FIRST_DELAY_S, LONGEST_DELAY_S = 5.0, 300.0
"""Until weights that could not be loaded are tried again."""


class Following:
    """Keeps a model at what a store has in use, as long as the store is of the model's source.

    The store may come into being later. ``observe`` runs in the inference thread, all that takes time in the model's
    background thread. Whatever is wrong with the store, the model goes on with what it has.

    rollbacks: how often weights fell here. rolled_back: the last of them and why.
    """

    def __init__(self, config: Config, model: Model) -> None:
        """model: with ``segmenter.weights`` loaded; those are the source."""
        self.folder = Path(config.adaptation.store.folder)
        self.rollbacks = 0
        self.rolled_back = ""
        self._config, self._model = config, model
        self._store = WeightStore(self.folder)
        self._watcher = StoreWatcher(self.folder)
        self._source_hash = model.current.version[:8]
        self._source = ""  # the source's name in the store
        self._target = ""  # the version in use, or about to be; "" for the source
        self._current = ""  # what the store has in use
        self._refusal = ""
        self._owed: tuple[str, str] | None = None  # a version and why the store has to roll it back
        self._found = self._asked = False
        self._retry_at, self._delay = math.inf, FIRST_DELAY_S
        self._monitor = RollbackMonitor(config.adaptation.rollback)

    def start(self) -> None:
        """Takes what the store has in use, or the nearest before it that is whole, before the first frame."""
        self._model.submit(partial(self._look, at_once=True)).result()

    def look(self) -> None:
        """Has the background look whether the store has changed."""
        if not self._asked:
            self._asked = True
            self._model.submit(self._look)

    def observe(self, prediction: Prediction) -> None:
        """A frame that has been published, by the weights in use. Takes about 1.5 ms."""
        name = self._model.name
        source = name in ("", self._source)
        reason = self._monitor.observe_prediction(prediction, name, source=source, now_s=time.monotonic())
        if reason is not None:
            self._model.submit(partial(self._fall, name, reason))

    def reconfigure(self, config: Config) -> None:
        """Has the weights in use loaded again as ``config`` wants them."""
        self._config = config
        self._model.submit(self._reload)

    @property
    def problem(self) -> str:
        """What is wrong with the store or what it has in use, "" when nothing is."""
        return self._watcher.problem or self._refusal

    def report(self) -> dict[str, Any]:
        """For the diagnostics."""
        return {
            "following": str(self.folder),
            "store_current": self._current,
            "running": self._model.name or self._source or "segmenter.weights",
            "rollbacks": self.rollbacks,
            "rolled_back": self.rolled_back,
            "rollback_monitor": self._monitor.state,
        }

    # In the background ------------------------------------------------------------------------------------------------

    def _look(self, at_once: bool = False) -> None:
        self._asked = False
        if not self._found and not self._store.exists:
            return  # no store yet is nothing to complain about
        self._found = True
        if time.monotonic() >= self._retry_at:
            self._retry_at = math.inf
            self._watcher.report_again()
        # A version that is not there is none to the follower; at the start another one has to be found.
        if self._watcher.poll() is not None or (at_once and self._watcher.problem):
            self._changed(at_once)
        if self._owed is not None:
            with contextlib.suppress(StoreError):  # as long as that cannot be read, it stays owed
                if self._owed[0] == self._store.pointer().current:
                    self._roll_back_store(*self._owed)
                else:
                    self._owed = None

    def _changed(self, at_once: bool) -> None:
        try:
            pointer = self._store.pointer()
        except StoreError as error:
            self._refuse(str(error))
            return
        self._current = pointer.current
        if version_hash(pointer.source) != self._source_hash:
            self._refuse(
                f"{self.folder}: not followed: its source model is {pointer.source}, "
                f"segmenter.weights is {self._source_hash} ({self._config.segmenter.weights})"
            )
            return
        self._refusal, self._source = "", pointer.source
        if not self._is_target(pointer.current):
            # With frames flowing, what works is kept; at the start the nearest that works is taken.
            self._load_first([pointer.current, *(pointer.earlier if at_once else ())], at_once)

    def _is_target(self, name: str) -> bool:
        return name == (self._target or self._source)

    def _load_first(self, names: Sequence[str], at_once: bool = False) -> None:
        """Takes the first of the versions that can be loaded. What cannot is named as the problem, and tried again
        after a while, or when the pointer changes."""
        self._retry_at = math.inf
        for name in names:
            if self._is_target(name):
                return
            try:
                self._load(name, at_once)
            except (SamAdaptError, OSError, RuntimeError) as error:
                self._refuse(f"{name}: {error}")
                self._watcher.running = ""
                self._retry_at = time.monotonic() + self._delay
            else:
                break
        later = min(2 * self._delay, LONGEST_DELAY_S)
        self._delay = FIRST_DELAY_S if self._retry_at == math.inf else later

    def _load(self, name: str, at_once: bool = False) -> None:
        is_source = name in ("", self._source)
        weights = self._config.segmenter.weights if is_source else str(self.folder / name)
        segmenter = self._config.segmenter.model_copy(update={"weights": weights})
        config = self._config.model_copy(update={"segmenter": segmenter})
        self._model.load(config, name, self._source_hash if is_source else version_hash(name), at_once)
        self._target = name

    def _reload(self) -> None:
        try:
            self._load(self._target)
        except (SamAdaptError, OSError, RuntimeError) as error:
            self._refuse(f"{self._target}: {error}")

    def _fall(self, name: str, reason: str) -> None:
        """First here, which is quick and needs nothing of the store; then in the store, for all who follow it."""
        logger.error("weights %s fell: %s", name, reason)
        if not self._is_target(name):
            return  # something else is on its way already
        self.rollbacks += 1
        self.rolled_back = f"{name}: {reason}"
        try:
            pointer = self._store.pointer()
            names = [pointer.current, *pointer.earlier]
        except StoreError:
            names = []
        self._load_first([version for version in (*names, self._source) if version != name])
        self._roll_back_store(name, f"segmenter: {reason}")

    def _roll_back_store(self, name: str, reason: str) -> None:
        try:
            self._store.rollback(reason, of=name)
        except StoreError as error:
            running = self._target or self._source
            self._owed = (name, reason)
            self._refuse(f"{name} fell and stays in use in the store, here it is {running}: {error}")
        else:
            if self._owed is not None:
                self._owed, self._refusal = None, ""
            self.look()

    def _refuse(self, problem: str) -> None:
        if problem != self._refusal:
            logger.error("the weights in use stay: %s", problem)
        self._refusal = problem
