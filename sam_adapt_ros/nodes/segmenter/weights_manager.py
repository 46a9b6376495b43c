"""Keeps the segmenter at the weight store's version: loads what is promoted, rolls back what regresses."""

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
from sam_adapt_ros.errors import NetworkError, SamAdaptError, StoreError
from sam_adapt_ros.nodes.segmenter.hot_swap import SegmenterSlot

if TYPE_CHECKING:
    from sam_adapt_ros.segmentation import Prediction

logger = logging.getLogger(__name__)

FIRST_RETRY_S, LONGEST_RETRY_S = 5.0, 300.0
"""Until weights that could not be loaded are tried again."""
_LOADING_ERRORS = (SamAdaptError, OSError, RuntimeError)


class WeightsManager:
    """Keeps a ``SegmenterSlot`` at the version that a store has in use, as long as the store is of the slot's source
    model.

    The store may be created later. ``observe`` runs in the inference thread, everything that takes time in the slot's
    background thread. If the store fails, labelling continues with the loaded weights.

    rollbacks: how often weights were rolled back here. rolled_back: the last of them and why.
    """

    def __init__(self, config: Config, slot: SegmenterSlot) -> None:
        """slot: with ``segmenter.weights`` loaded; those are the source."""
        self.folder = Path(config.adaptation.store.folder)
        self.rollbacks = 0
        self.rolled_back = ""
        self._config, self._slot = config, slot
        self._store = WeightStore(self.folder)
        self._watcher = StoreWatcher(self.folder)
        self._source_hash = slot.current.version[:8]
        self._source = ""  # the source's name in the store
        self._target = ""  # the version in use, or about to be; "" for the source
        self._store_current = ""
        self._problem = ""
        self._pending_rollback: tuple[str, str] | None = None  # a version that the store has yet to roll back, and why
        self._store_found = self._poll_pending = self._reconfigured = False
        self._retry_at, self._retry_delay = math.inf, FIRST_RETRY_S
        self._monitor = RollbackMonitor(config.adaptation.rollback)

    def start(self) -> None:
        """Loads what the store has in use, or the nearest version before it that is intact, before the first frame."""
        self._slot.submit(partial(self._poll, at_once=True)).result()

    def poll(self) -> None:
        """Has the background thread look whether the store has changed."""
        if not self._poll_pending:
            self._poll_pending = True
            self._slot.submit(self._poll)

    def observe(self, outcome: Prediction | NetworkError, stamp_ns: int) -> None:
        """Shows the rollback monitor a frame by the weights in use, or that they failed on it. Takes about 1.5 ms.

        stamp_ns: of the sweep. Where it goes back a bag loops, and the street is another one.
        """
        name = self._slot.name
        source = name in ("", self._source)
        if self._reconfigured:  # another fusion, for one, has another confidence: what was before is no measure
            self._reconfigured = False
            self._monitor.swapped(source=source, newer=False)
        reason = self._monitor.observe_outcome(outcome, name, source=source, now_s=stamp_ns * 1e-9)
        if reason is not None:
            self._slot.submit(partial(self._roll_back, name, reason))

    def reconfigure(self, config: Config) -> None:
        """Has the weights in use loaded again with the settings of ``config``."""
        self._config = config
        self._slot.submit(self._reload)

    @property
    def problem(self) -> str:
        """What is wrong with the store or the version it has in use, "" when nothing is."""
        return self._watcher.problem or self._problem

    def report(self) -> dict[str, Any]:
        """For the diagnostics."""
        return {
            "following": str(self.folder),
            "store_current": self._store_current,
            "running": self._slot.name or self._source or "segmenter.weights",
            "rollbacks": self.rollbacks,
            "rolled_back": self.rolled_back,
            "rollback_monitor": self._monitor.state,
        }

    # In the background thread -----------------------------------------------------------------------------------------

    def _poll(self, at_once: bool = False) -> None:
        self._poll_pending = False
        if not self._store_found and not self._store.exists:
            return  # not an error: an adapter creates it later
        self._store_found = True
        if time.monotonic() >= self._retry_at:
            self._retry_at = math.inf
            self._watcher.report_again()
        # The watcher reports no version whose file is missing; at the start an earlier one has to be found.
        if self._watcher.poll() is not None or (at_once and self._watcher.problem):
            self._store_changed(at_once)
        if self._pending_rollback is not None:
            with contextlib.suppress(StoreError):  # it stays pending until the pointer can be read
                if self._pending_rollback[0] == self._store.pointer().current:
                    self._roll_back_store(*self._pending_rollback)
                else:
                    self._pending_rollback = None

    def _store_changed(self, at_once: bool) -> None:
        try:
            pointer = self._store.pointer()
        except StoreError as error:
            self._report_problem(str(error))
            return
        self._store_current = pointer.current
        if self._pending_rollback is not None and self._pending_rollback[0] == pointer.current:
            return  # it is rolled back here already, in the store it has yet to be
        if version_hash(pointer.source) != self._source_hash:
            self._report_problem(
                f"{self.folder} is ignored: its source model is {pointer.source}, but segmenter.weights is "
                f"{self._source_hash} ({self._config.segmenter.weights}); set either to fit the other"
            )
            return
        self._problem, self._source = "", pointer.source
        if not self._is_target(pointer.current):
            # While frames flow, working weights are kept; at the start the nearest version that works is loaded.
            self._load_first([pointer.current, *(pointer.earlier if at_once else ())], at_once)

    def _is_target(self, name: str) -> bool:
        return name == (self._target or self._source)

    def _load_first(self, names: Sequence[str], at_once: bool = False) -> None:
        """Loads the first of the versions that can be loaded. Those that cannot are reported, and tried again after a
        while, or when the pointer changes."""
        self._retry_at = math.inf
        for name in names:
            if self._is_target(name):
                return
            try:
                self._load(name, at_once)
            except _LOADING_ERRORS as error:
                self._report_problem(f"{name}: {error}")
                self._watcher.running = ""
                self._retry_at = time.monotonic() + self._retry_delay
            else:
                break
        longer = min(2 * self._retry_delay, LONGEST_RETRY_S)
        self._retry_delay = FIRST_RETRY_S if self._retry_at == math.inf else longer

    def _load(self, name: str, at_once: bool = False) -> None:
        is_source = name in ("", self._source)
        weights = self._config.segmenter.weights if is_source else str(self.folder / name)
        segmenter = self._config.segmenter.model_copy(update={"weights": weights})
        config = self._config.model_copy(update={"segmenter": segmenter})
        self._slot.load(config, name, self._source_hash if is_source else version_hash(name), at_once)
        self._target = name

    def _reload(self) -> None:
        try:
            self._load(self._target)
            self._reconfigured = True
        except _LOADING_ERRORS as error:
            self._report_problem(f"{self._target}: {error}")

    def _roll_back(self, name: str, reason: str) -> None:
        """First here, which is quick and does not need the store; then in the store, for every process that uses it."""
        if not self._is_target(name):
            return  # another version is about to replace it
        self.rollbacks += 1
        self.rolled_back = f"{name}: {reason}"
        try:
            pointer = self._store.pointer()
            names = [pointer.current, *pointer.earlier]
        except StoreError:
            names = []
        self._load_first([version for version in (*names, self._source) if version != name])
        done = "no other version can be loaded" if self._is_target(name) else f"{self._running} is in use again"
        logger.error("rolling back %s: %s; %s", name, reason, done)
        self._roll_back_store(name, f"segmenter: {reason}")

    def _roll_back_store(self, name: str, reason: str) -> None:
        try:
            self._store.rollback(reason, of=name)
        except StoreError as error:
            self._pending_rollback = (name, reason)
            self._report_problem(
                f"{name} was rolled back to {self._running} here, but is still in use in the store: {error}"
            )
        else:
            if self._pending_rollback is not None:
                self._pending_rollback, self._problem = None, ""
            self.poll()

    @property
    def _running(self) -> str:
        return self._target or self._source

    def _report_problem(self, problem: str) -> None:
        if problem != self._problem:
            logger.error("labelling goes on with the weights that are loaded: %s", problem)
        self._problem = problem
