"""The adapter's learning thread: opens the store, runs rounds, and obeys the services meanwhile."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.adaptation.round_summary import findings
from sam_adapt_ros.cancellation import CancellationToken, Cancelled
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import SamAdaptError, StoreError
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.nodes.adapter.request_queue import Answer, Commands
from sam_adapt_ros.nodes.adapter.state_dir import Workplace

if TYPE_CHECKING:
    from sam_adapt_ros.adaptation.adapter import Adapter
    from sam_adapt_ros.adaptation.buffer.frame_buffer import Admission
    from sam_adapt_ros.adaptation.promotion.gate import Decision

logger = logging.getLogger(__name__)

RETRY_S = 3.0
"""How often a store that cannot be used is tried again."""
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 5.0, 300.0
SAVE_PERIOD_S = 15.0
"""Outside rounds, a kill costs no more than the frames that were kept for so long."""
_IDLE_S = 1.0
_PASSING = {"disk_full", "read_only", "locked", "missing", "io", "damaged"}
"""Reasons why a store cannot be used that may be gone in a moment."""
_KEPT_DECISIONS = 20


class Learner:
    """Learning in a thread of its own, from ``start`` to ``close``; every other method may be called from any thread.

    adapter: None until the store is open. decision: of the last round, None before. counts: of this process:
    ``promotions``, ``rejections``, ``failures``.

    A store that cannot be used (missing, read-only, full, another source's, in use) pauses learning, with ``problem``
    in words, and is tried again every RETRY_S; so is a full disk that a round meets. Whatever else goes wrong in a
    round is logged, and the round goes on after a while; if it goes wrong again, the next one begins with new frames.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.workplace = Workplace(config)
        self.counts: Counter[str] = Counter()
        self.adapter: Adapter | None = None
        self.decision: Decision | None = None
        self._commands = Commands()
        self._paused = self._closing = self._in_round = False
        self._problem = self._failure = ""
        self._failures = 0  # one after the other
        self._retry_at = self._working_since = 0.0
        self._ended_at: float | None = None
        self._run_dry = False
        self._passed_over: Counter[str] = Counter()  # by the buffer, before this process
        self._saved = 0  # frames that had been kept when they were last saved, ...
        self._saved_at = time.monotonic()  # ... and when that was
        self._thread = threading.Thread(target=self._run, name="learning", daemon=True)

    # For others -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float = 4.0) -> bool:
        """Stops the round at its next step, so that another process can go on with it. False when that takes longer."""
        self._closing = True
        self._commands.wake()
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
        """Offers a frame; returns what became of it: as ``Adapter.observe`` says, ``not_open`` or ``label_class``.

        labels: (N,) class ids, 255 = none. probability: (N,) of these, where it is known. admission: of this frame, by
        ``Adapter.admit``.
        """
        adapter = self.adapter
        if adapter is None:
            return "not_open"
        if (((labels < 0) | (labels >= len(adapter.taxonomy))) & (labels != IGNORE)).any():
            return "label_class"
        self._run_dry = False
        outcome = adapter.observe(frame, labels.astype(np.uint8), probability, admission)
        if outcome == "kept" and not self._in_round and adapter.ready:
            self._commands.wake()
        return outcome

    def trigger(self) -> Answer:
        """Asks for a round now, with new frames or without."""
        adapter = self.adapter
        if adapter is None:
            return self._not_open()
        if self._paused:
            return Answer(False, "learning is paused")
        if self._problem:
            return Answer(False, self._problem)
        if self._in_round:
            return Answer(True, f"round {adapter.rounds} is under way ({adapter.phase})")
        rounds, buffer = self.config.adaptation.rounds, adapter.buffer
        training, held_out = len(buffer.training()), len(buffer.held_out())
        lacking, observing = adapter.lacking, self.observing and training > 0
        if (lacking["training"] or lacking["held_out"]) and not observing:
            to_learn = f"{training} of {rounds.min_frames} to learn from"
            return Answer(False, f"too few frames: {to_learn}, {held_out} of {rounds.min_held_out} to judge by")
        adapter.request_round()
        self._retry_at = 0.0
        self._commands.wake()
        return Answer(True, f"a round begins, with {training} frames to learn from and {held_out} to judge by")

    def pause(self, paused: bool) -> Answer:
        """Holds the round at its next step, or lets it go on. Frames are kept all the same."""
        before, self._paused = self._paused, paused
        self._commands.wake()
        words = "paused" if paused else "not paused"
        return Answer(True, f"learning is {words}{' already' if before == paused else ''}")

    def reset(self) -> Answer:
        """Forgets frames and round; what was promoted stays."""
        adapter = self.adapter
        if adapter is None:
            return self._not_open()
        return self._commands.ask(adapter.reset, "frames and round forgotten", ends_round=True)

    def save(self) -> Answer:
        """Writes the frames to disk."""
        adapter = self.adapter
        if adapter is None:
            return self._not_open()
        return self._commands.ask(adapter.save, f"{len(adapter.buffer)} frames saved in {self.workplace.folder}")

    def rollback(self) -> Answer:
        """Puts the weights before those in use to use. Who watches the store is to call ``weights_taken_back``."""
        try:
            version = self.workplace.store.rollback("asked for by service")
        except StoreError as error:
            return Answer(False, str(error))
        return Answer(True, f"{version.name} is in use")

    def run_dry(self) -> None:
        """To be called when no frames come any more, as at a bag's end: who only observes then makes do with those
        that there are, be they too few to learn from."""
        self._run_dry = self.observing
        self._commands.wake()

    def weights_taken_back(self) -> None:
        """To be called when the store was rolled back: what the round would better is no longer in use, and what was
        learned from these frames was no good."""
        adapter = self.adapter
        if adapter is not None:
            self._commands.put(adapter.abandon_round, ends_round=True)

    @property
    def paused(self) -> bool:
        """Whether it was asked to pause."""
        return self._paused

    @property
    def problem(self) -> str:
        """What keeps it from learning, "" when nothing does."""
        return self._problem or self._failure

    @property
    def phase(self) -> str:
        """``waiting`` (for the store, or for frames enough), ``watching`` (for new ones), a round's ``normalizing``,
        ``labelling``, ``training`` or ``judging``; ``paused`` (asked to, or with a problem), ``failed`` (for now)."""
        adapter = self.adapter
        if self._paused or self._problem:
            return "paused"
        if self._failure:
            return "failed"
        if adapter is None:
            return "waiting"
        if self._in_round:
            return adapter.phase
        lacking = adapter.lacking
        return "waiting" if lacking["training"] or lacking["held_out"] else "watching"

    @property
    def observing(self) -> bool:
        """Whether it does everything but training."""
        return self.config.adaptation.mode == "observe"

    @property
    def in_round(self) -> bool:
        """Whether a round is under way."""
        return self._in_round

    @property
    def settled(self) -> bool:
        """Whether, no frames coming any more, it has nothing left to sum up either; of one that observes."""
        adapter = self.adapter
        return self._run_dry and adapter is not None and not self._in_round and not adapter.ready_at_end

    @property
    def passed_over(self) -> Counter[str]:
        """Frames that this process offered to the buffer in vain, by the reason."""
        counts = Counter(self.adapter.buffer.counts) if self.adapter is not None else Counter()
        del counts["kept"]
        return counts - self._passed_over

    @property
    def since_round(self) -> float | None:
        """Seconds since the last round ended; None before."""
        return None if self._ended_at is None else time.monotonic() - self._ended_at

    # In the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing:
            self._commands.serve()
            try:
                self._step()
            except SamAdaptError as error:
                if self.adapter is None or (isinstance(error, StoreError) and error.reason in _PASSING):
                    self._unusable(error)
                else:
                    self._failed(error)
            except Exception as error:
                self._failed(error)
            self._commands.wait(_IDLE_S)
        self._commands.refuse("the adapter is ending")
        if self.adapter is not None:
            with contextlib.suppress(SamAdaptError):
                self._save(self.adapter)
        self.workplace.close()

    def _step(self) -> None:
        now = time.monotonic()
        if now < self._retry_at:
            return
        if self.adapter is None:
            self.adapter = self.workplace.open()
            self._passed_over = Counter(self.adapter.buffer.counts)
        if self._problem:
            self.workplace.check()
            logger.info("learning goes on: the store can be used again")
        assert self.adapter is not None
        self._problem = self._failure = ""
        if not self._paused and (self.adapter.ready or (self._run_dry and self.adapter.ready_at_end)):
            self._round(self.adapter)
        elif now - self._saved_at >= SAVE_PERIOD_S:
            self._save(self.adapter)

    def _round(self, adapter: Adapter) -> None:
        self._save(adapter)  # labelling takes long, and what it labels is to survive a kill
        self._working_since = time.monotonic()
        self._in_round = True
        try:
            decision = adapter.run_round(_RoundToken(self._between))
        finally:
            self._in_round = False
        self._failures = 0
        if decision is None:
            return
        self._ended_at = time.monotonic()
        self.decision = decision
        if decision.promoted:
            self.counts["promotions"] += 1
        elif self.observing:
            for line in findings(decision.facts):
                logger.info("observe: %s", line)
        else:
            self.counts["rejections"] += 1
        del adapter.decisions[:-_KEPT_DECISIONS]  # they are in the folder's log

    def _between(self) -> bool:
        """Rests as the duty cycle asks for, and as long as learning is paused; serves commands meanwhile."""
        worked = time.monotonic() - self._working_since
        rested_at = time.monotonic() + worked * (1 / self.config.adaptation.resources.duty_cycle - 1)
        while True:
            if self._closing or not self._commands.serve(in_round=True):
                return True
            left = _IDLE_S if self._paused else rested_at - time.monotonic()
            if left <= 0:
                break
            self._commands.wait(left)
        self._working_since = time.monotonic()
        return False

    def _save(self, adapter: Adapter) -> None:
        kept = adapter.buffer.counts["kept"]
        if kept != self._saved:
            adapter.save()
        self._saved, self._saved_at = kept, time.monotonic()

    def _unusable(self, error: SamAdaptError) -> None:
        if str(error) != self._problem:
            logger.error("learning is paused: %s", error)
        self._problem = str(error)
        self._retry_at = time.monotonic() + RETRY_S
        if isinstance(error, StoreError) and error.reason == "missing" and not self.workplace.store.exists:
            # Somebody has removed the store under us, and our state with it: opened anew, it begins with the source.
            self.workplace.close()
            self.adapter = None

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self.counts["failures"] += 1
        delay = min(FIRST_BACK_OFF_S * 2 ** (self._failures - 1), LONGEST_BACK_OFF_S)
        if isinstance(error, SamAdaptError):
            logger.error("learning failed, it goes on in %g s: %s", delay, error)
        else:
            logger.exception("learning failed, it goes on in %g s", delay)
        self._failure = f"{type(error).__name__}: {error}"
        self._retry_at = time.monotonic() + delay
        if self._failures > 1 and self.adapter is not None:
            with contextlib.suppress(SamAdaptError):
                self.adapter.abandon_round()

    # Inside -----------------------------------------------------------------------------------------------------------

    def _not_open(self) -> Answer:
        return Answer(False, f"not learning: {self.problem or 'the store is being opened'}")


class _RoundToken(CancellationToken):
    """Rests and serves requests between the pieces of a round. between: True ends the round for now."""

    def __init__(self, between: Callable[[], bool]) -> None:
        super().__init__()
        self._between = between

    def check(self) -> None:
        if self._between():
            raise Cancelled
