"""The adapter's training thread: opens the store, runs rounds, and serves the services' requests meanwhile."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.adaptation.round_summary import findings
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import SamAdaptError, StoreError
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.nodes.adapter.duty_cycle import DutyCycle
from sam_adapt_ros.nodes.adapter.request_queue import Answer, RequestQueue
from sam_adapt_ros.nodes.adapter.right_of_way import RightOfWay
from sam_adapt_ros.nodes.adapter.state_dir import StateDir

if TYPE_CHECKING:
    from sam_adapt_ros.adaptation.adapter import Adapter
    from sam_adapt_ros.adaptation.buffer.frame_buffer import Admission
    from sam_adapt_ros.adaptation.promotion.gate import Decision

logger = logging.getLogger(__name__)

RETRY_S = 3.0
"""How often a store that cannot be used is tried again."""
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 5.0, 300.0
SAVE_PERIOD_S = 15.0
"""Outside rounds, a kill costs at most the frames that were kept during this time."""
_IDLE_S = 1.0
_TRANSIENT = {"disk_full", "read_only", "locked", "missing", "io", "damaged"}
"""Reasons of a StoreError that may be temporary."""
_KEPT_DECISIONS = 20


class TrainingThread:
    """Learning in a thread of its own, from ``start`` to ``close``; every other method may be called from any thread.

    adapter: None until the store is open. observing: whether it does everything but training (mode ``observe``).
    in_round: whether a round is under way. decision, ended_at: of the last round, None before; the latter on
    ``time.monotonic``. counts: of this process: ``promotions``, ``rejections``, ``failures``.
    right_of_way: to be told of sweeps and labels as they come; rounds give way while a sweep is being labelled.

    A store that cannot be used (missing, read-only, full, another source's, in use) pauses learning, with ``problem``
    in words, and is tried again every RETRY_S; so is a full disk that a round meets. Any other error in a round is
    logged, and the round is resumed after a while; if it fails again, the next one begins with new frames.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.state_dir = StateDir(config)
        self.counts: Counter[str] = Counter()
        self.right_of_way = RightOfWay()
        self.adapter: Adapter | None = None
        self.observing = config.adaptation.mode == "observe"
        self.in_round = False
        self.decision: Decision | None = None
        self.ended_at: float | None = None
        self._requests = RequestQueue()
        self._token = DutyCycle(self._requests, config.adaptation.resources.duty_cycle)
        self._problem = self._failure = ""
        self._consecutive_failures = 0
        self._retry_at = 0.0
        self._stream_ended = False
        self._passed_over_before: Counter[str] = Counter()  # by the buffer, before this process
        self._saved = 0  # frames that had been kept when they were last saved, ...
        self._saved_at = time.monotonic()  # ... and when that was
        self._thread = threading.Thread(target=self._run, name="training", daemon=True)

    # For other threads ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float = 4.0) -> bool:
        """Stops the round at its next step, so that another process can resume it. False when that takes longer."""
        self._token.cancel()
        self._requests.wake()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def observe(
        self,
        frame: Frame,
        labels: NDArray[np.integer],
        probability: NDArray[np.float32] | None = None,
        admission: Admission | None = None,
    ) -> str:
        """Offers a frame; returns what became of it: as ``Adapter.observe`` returns, ``not_open`` or ``label_class``.

        labels: (N,) class ids, 255 = none. probability: (N,) of these, where it is known. admission: of this frame, by
        ``Adapter.admit``.
        """
        adapter = self.adapter
        if adapter is None:
            return "not_open"
        if (((labels < 0) | (labels >= len(adapter.taxonomy))) & (labels != IGNORE)).any():
            return "label_class"
        self._stream_ended = False
        outcome = adapter.observe(frame, labels.astype(np.uint8), probability, admission)
        if outcome == "kept" and not self.in_round and adapter.ready:
            self._requests.wake()
        return outcome

    def end_of_stream(self) -> None:
        """To be called when no frames come any more, as at a bag's end: in mode ``observe``, a round then begins with
        the frames that there are, even if they are too few to learn from."""
        self._stream_ended = self.observing
        self._requests.wake()

    def trigger(self) -> Answer:
        """Requests a round now, with new frames or without."""
        adapter = self.adapter
        if adapter is None:
            return self._not_open()
        if self.paused:
            return Answer(False, "learning is paused; call ~/pause with data: false first")
        if self._problem:
            return Answer(False, self._problem)
        if self.in_round:
            return Answer(True, f"round {adapter.rounds} is under way ({adapter.phase})")
        rounds, buffer = self.config.adaptation.rounds, adapter.buffer
        training, held_out = len(buffer.training()), len(buffer.held_out())
        lacking, observing = adapter.lacking, self.observing and training > 0
        if (lacking["training"] or lacking["held_out"]) and not observing:
            there = f"{training} of {rounds.min_frames} for training, {held_out} of {rounds.min_held_out} held out"
            return Answer(False, f"too few frames: {there}; drive on")
        adapter.request_round()
        self._retry_at = 0.0
        self._requests.wake()
        return Answer(True, f"a round begins, with {training} frames for training and {held_out} held out")

    def pause(self, paused: bool) -> Answer:
        """Pauses the round at its next step, or resumes it. Frames are kept in both cases."""
        before, self._token.paused = self._token.paused, paused
        self._requests.wake()
        state = "paused" if paused else "not paused"
        return Answer(True, f"learning is {state}{' already' if before == paused else ''}")

    def reset(self) -> Answer:
        """Discards frames and round; what was promoted stays."""
        adapter = self.adapter
        if adapter is None:
            return self._not_open()
        return self._requests.ask(adapter.reset, "frames and round discarded", ends_round=True)

    def save(self) -> Answer:
        """Writes the frames to disk."""
        adapter = self.adapter
        if adapter is None:
            return self._not_open()
        return self._requests.ask(adapter.save, f"{len(adapter.buffer)} frames saved in {self.state_dir.folder}")

    def rollback(self) -> Answer:
        """Puts the previous weights to use. The caller watches the store and calls ``weights_rolled_back``."""
        try:
            version = self.state_dir.store.rollback("requested by service")
        except StoreError as error:
            return Answer(False, str(error))
        return Answer(True, f"{version.name} is in use")

    def weights_rolled_back(self) -> None:
        """To be called when the store was rolled back: the weights that the round started from are no longer in use,
        and the frames led to weights that regressed."""
        if self.adapter is not None:
            self._requests.put(self.adapter.abandon_round, ends_round=True)

    @property
    def paused(self) -> bool:
        """Whether a pause was requested."""
        return self._token.paused

    @property
    def problem(self) -> str:
        """What prevents learning; "" when nothing does."""
        return self._problem or self._failure

    @property
    def phase(self) -> str:
        """``waiting`` (for the store, or for enough frames), ``watching`` (for new ones), the round's phase, ``paused``
        (by request or a problem) or ``failed`` (for now)."""
        adapter = self.adapter
        if self.paused or self._problem:
            return "paused"
        if self._failure:
            return "failed"
        if adapter is None:
            return "waiting"
        if self.in_round:
            return adapter.phase
        lacking = adapter.lacking
        return "waiting" if lacking["training"] or lacking["held_out"] else "watching"

    @property
    def settled(self) -> bool:
        """In mode ``observe``: whether the stream has ended and everything that came is summed up."""
        adapter = self.adapter
        return self._stream_ended and adapter is not None and not self.in_round and not adapter.ready_at_end

    @property
    def passed_over(self) -> Counter[str]:
        """Frames of this process that the buffer did not keep, by reason."""
        counts = Counter(self.adapter.buffer.counts) if self.adapter is not None else Counter()
        del counts["kept"]
        return counts - self._passed_over_before

    # In the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._token.cancelled:
            self._requests.serve()
            try:
                self._step()
            except SamAdaptError as error:
                if self.adapter is None or (isinstance(error, StoreError) and error.reason in _TRANSIENT):
                    self._pause_for(error)
                else:
                    self._back_off(error)
            except Exception as error:
                self._back_off(error)
            self._requests.wait(_IDLE_S)
        self._requests.refuse("the adapter is stopping")
        if self.adapter is not None:
            with contextlib.suppress(SamAdaptError):
                self._save(self.adapter)
        self.state_dir.close()

    def _step(self) -> None:
        now = time.monotonic()
        if now < self._retry_at:
            return
        if self.adapter is None:
            self.adapter = self.state_dir.open()
            self._passed_over_before = Counter(self.adapter.buffer.counts)
        if self._problem:
            self.state_dir.check_writable()
            logger.info("learning goes on: the store can be used again")
        self._problem = self._failure = ""
        if not self.paused and (self.adapter.ready or (self._stream_ended and self.adapter.ready_at_end)):
            self._run_round(self.adapter)
        elif now - self._saved_at >= SAVE_PERIOD_S:
            self._save(self.adapter)

    def _run_round(self, adapter: Adapter) -> None:
        self._save(adapter)  # labelling takes long, and its frames are saved first, in case the process is killed
        self._token.begin()
        self.in_round = True
        try:
            with self.right_of_way.between_layers():
                decision = adapter.run_round(self._token)
            self._consecutive_failures = 0
            if decision is not None:
                self._take_note(decision)
                del adapter.decisions[:-_KEPT_DECISIONS]  # they are in the folder's log
        finally:
            self.in_round = False  # last, so that the decision is counted once the round has ended

    def _take_note(self, decision: Decision) -> None:
        self.ended_at = time.monotonic()
        self.decision = decision
        if decision.promoted:
            self.counts["promotions"] += 1
        elif self.observing:
            for line in findings(decision.facts):
                logger.info("observe: %s", line)
        else:
            self.counts["rejections"] += 1

    def _save(self, adapter: Adapter) -> None:
        kept = adapter.buffer.counts["kept"]
        if kept != self._saved:
            adapter.save()
        self._saved, self._saved_at = kept, time.monotonic()

    def _pause_for(self, error: SamAdaptError) -> None:
        """The store cannot be used."""
        if str(error) != self._problem:
            logger.error("learning is paused, and tried again every %g s, until this is mended: %s", RETRY_S, error)
        self._problem = str(error)
        self._retry_at = time.monotonic() + RETRY_S
        if isinstance(error, StoreError) and error.reason == "missing" and not self.state_dir.store.exists:
            # The store was removed, and the adapter's state with it: opened anew, it begins with the source.
            self.state_dir.close()
            self.adapter = None

    def _back_off(self, error: Exception) -> None:
        self._consecutive_failures += 1
        self.counts["failures"] += 1
        delay = min(FIRST_BACK_OFF_S * 2 ** (self._consecutive_failures - 1), LONGEST_BACK_OFF_S)
        log = logger.error if isinstance(error, SamAdaptError) else logger.exception
        log("the round failed and is tried again in %g s; labelling is not affected: %s", delay, error)
        self._failure = f"{type(error).__name__}: {error}"
        self._retry_at = time.monotonic() + delay
        if self._consecutive_failures > 1 and self.adapter is not None:
            with contextlib.suppress(SamAdaptError):
                self.adapter.abandon_round()

    def _not_open(self) -> Answer:
        return Answer(False, f"not learning: {self.problem or 'the store is being opened'}")
