"""What the adapter keeps in a folder, so that another process goes on where this one ends."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from sam_adapt_ros.adaptation.buffer.frame_buffer import FrameBuffer
from sam_adapt_ros.adaptation.decision_log import DecisionLog
from sam_adapt_ros.adaptation.promotion.gate import Decision
from sam_adapt_ros.adaptation.round_state import RoundFiles, RoundState
from sam_adapt_ros.config import BufferConfig
from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.io.store_errors import store_errors

logger = logging.getLogger(__name__)


class Restored(NamedTuple):
    """What another process left.

    rounds: how many have begun. kept: frames that were kept since the last one began. state: of a round that was begun
    and can go on; None: there is none.
    """

    buffer: FrameBuffer
    rounds: int = 0
    kept: int = 0
    state: RoundState | None = None


class AdapterFiles:
    """The frame buffer, the round that has begun and the log of the rounds. folder: None keeps nothing.

    round: the files of the round that has begun.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.round = RoundFiles(folder)
        self._log = DecisionLog(folder)

    def restore(self, config: BufferConfig, current: str) -> Restored:
        """Damaged state is logged and left behind: frames will come again. current: name of the weights in use; a
        round that began with others is over.

        Raises StoreError where the folder cannot be used, or the buffer was split by other parameters.
        """
        restored = Restored(FrameBuffer(config))
        if self._folder is None:
            return restored
        with store_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        try:
            buffer = FrameBuffer.load(self._folder / "buffer", config)
            rounds, kept_before = self._log.last_round()
            restored = Restored(buffer, rounds, _since(buffer, kept_before))
            state = self.round.load()
        except StoreError as error:
            if error.reason == "refused":
                raise
            if error.reason != "missing":
                logger.warning("learning starts anew: %s", error)
            return restored
        if state.current == current:
            return Restored(buffer, state.number, _since(buffer, state.kept_before), state)
        logger.info("round %d is over: other weights are in use since it began", state.number)
        self.note(state.number, state.kept_before)  # as after a kill between promoting and forgetting
        self.round.remove()
        return Restored(buffer, state.number, _since(buffer, state.kept_before))

    def save(self, buffer: FrameBuffer) -> None:
        """Raises StoreError."""
        if self._folder is not None:
            buffer.save(self._folder / "buffer")

    def note(self, rounds: int, kept_before: int, decision: Decision | None = None) -> None:
        """Notes a round that has ended, see ``DecisionLog.append``. Where that fails it is logged: what is decided
        is in use all the same."""
        try:
            self._log.append(rounds, kept_before, decision)
        except StoreError as error:
            logger.warning("another process would not know of round %d, which has ended: %s", rounds, error)


def _since(buffer: FrameBuffer, kept_before: int) -> int:
    return max(0, buffer.counts["kept"] - kept_before)
