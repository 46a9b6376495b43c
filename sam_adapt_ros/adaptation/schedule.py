"""When a round of learning is due, and which frames it is about."""

from __future__ import annotations

from typing import Any

import numpy as np

from sam_adapt_ros.adaptation.buffer.frame_buffer import FrameBuffer, FrameSequence
from sam_adapt_ros.adaptation.monitoring.drift_detector import DriftWatch
from sam_adapt_ros.config import AdaptationConfig


class Schedule:
    """Counts the frames kept since the last round began.

    kept: how many there are already. first: whether the next round is the first one, which need not wait for new ones.
    drift: of the present scene away from the one that was learned last.
    """

    def __init__(self, config: AdaptationConfig, buffer: FrameBuffer, kept: int, first: bool) -> None:
        self.config = config
        self.drift = DriftWatch(config.drift)
        self.kept = kept
        self._buffer = buffer
        self._first = first
        self._requested = False
        self._observing = config.mode == "observe"

    def request(self) -> None:
        """Makes a round due as soon as there are frames enough for one (to observe: any), new or not."""
        self._requested = True

    def began(self) -> None:
        """A round began."""
        self.restart()
        self._first = False

    def restart(self) -> None:
        """Only frames that come from now on are new."""
        self.kept = 0
        self._requested = False

    def scene(self) -> tuple[FrameSequence, FrameSequence]:
        """Frames to learn from and to judge by: those that look like the present ones. What was driven through by
        night would teach and judge by day what does not count there, the statistics of normalization above all."""
        training, held_out, tone = self._buffer.training(), self._buffer.held_out(), self.drift.tone
        radius = self.config.rounds.scene_color_distance
        if not radius or tone is None:
            return training, held_out
        return training.alike(tone, radius), held_out.alike(tone, radius)

    def is_of(self, frames: FrameSequence, tone: Any) -> bool:
        """Whether most frames look like those of the given mean colour; True where that is not known."""
        radius = self.config.rounds.scene_color_distance
        if not tone or not radius:
            return True
        return 2 * len(frames.alike(np.array(tone), radius)) >= len(frames)

    @property
    def lacking(self) -> dict[str, int]:
        """Frames that the next round still lacks: to learn from (``training``), to judge by (``held_out``), ``new``.

        The former two are of the present scene: frames of another one wait in the buffer until it returns. To observe,
        none need be held out."""
        rounds, (training, held_out) = self.config.rounds, self.scene()
        found = {
            "training": rounds.min_frames - len(training),
            "held_out": 0 if self._observing else rounds.min_held_out - len(held_out),
            "new": 0 if self._first else rounds.new_frames - self.kept,
        }
        return {name: max(count, 0) for name, count in found.items()}

    @property
    def cause(self) -> str:
        """Why a round is due: ``trigger``, ``new frames`` or ``drift``; "" when none is."""
        if self._requested and self._observing:
            return "trigger" if len(self.scene()[0]) else ""
        lacking = self.lacking
        if lacking["training"] or lacking["held_out"]:
            return ""
        if self._requested:
            return "trigger"
        if not lacking["new"]:
            return "new frames"
        return "drift" if self.kept >= self.config.drift.new_frames and self.drift.found else ""

    @property
    def due_at_end(self) -> bool:
        """Whether one is due when no more frames will come: half of the new ones will do, and to observe, any."""
        if self._observing and self.kept and len(self.scene()[0]):
            return True
        lacking = self.lacking
        return not (lacking["training"] or lacking["held_out"]) and 2 * self.kept >= self.config.rounds.new_frames
