"""When a round of learning is due, and which frames it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sam_adapt_ros.adaptation.buffer.frame_buffer import FrameBuffer
from sam_adapt_ros.adaptation.buffer.frame_sequence import FrameSequence
from sam_adapt_ros.adaptation.monitoring.drift_detector import DriftDetector
from sam_adapt_ros.config import AdaptationConfig


class Schedule:
    """Decides when a round is due: when there are frames enough, and new ones among them, another scene, or a request.

    kept: the number of frames kept since the last round began. drift_detector: observes every considered frame.
    """

    def __init__(self, config: AdaptationConfig, buffer: FrameBuffer, kept: int, first: bool) -> None:
        """first: whether no round has begun yet; the first one need not wait for new frames."""
        self.config = config
        self.drift_detector = DriftDetector(config.drift)
        self.kept = kept
        self._buffer = buffer
        self._first = first
        self._requested = False
        self._observing = config.mode == "observe"

    def request(self) -> None:
        """Makes a round due as soon as there are frames enough for one (in mode ``observe``: any), new or not."""
        self._requested = True

    def began(self) -> None:
        """To be called when a round begins."""
        self.restart()
        self._first = False

    def restart(self) -> None:
        """Makes only those frames new that come from now on, and forgets a request."""
        self.kept = 0
        self._requested = False

    def scene_frames(self) -> tuple[FrameSequence, FrameSequence]:
        """The training and the held-out frames of the present scene: those whose images' mean colour is near the
        present one. Frames taken by night would not help by day, least of all BatchNorm statistics."""
        training, held_out, color = self._buffer.training(), self._buffer.held_out(), self.drift_detector.mean_color
        max_distance = self.config.rounds.scene_color_distance
        if not max_distance or color is None:
            return training, held_out
        return training.of_color(color, max_distance), held_out.of_color(color, max_distance)

    def is_same_scene(self, frames: FrameSequence, mean_color: Sequence[float] | None) -> bool:
        """Whether most frames are of the scene with that mean colour; True where it is not known."""
        max_distance = self.config.rounds.scene_color_distance
        if not mean_color or not max_distance:
            return True
        return 2 * len(frames.of_color(np.array(mean_color), max_distance)) >= len(frames)

    @property
    def lacking(self) -> dict[str, int]:
        """The number of frames that the next round still lacks: ``training`` frames, ``held_out`` frames
        and ``new`` ones.

        The former two are of the present scene: frames of another one wait in the buffer until it returns. In mode
        ``observe`` none need be held out.
        """
        return self._lacking(self._needed)

    @property
    def cause(self) -> str:
        """Why a round is due: ``trigger``, ``new frames`` or ``drift``; "" when none is."""
        if self._requested and self._observing:
            return "trigger" if len(self.scene_frames()[0]) else ""
        lacking = self.lacking
        if lacking["training"] or lacking["held_out"]:
            return ""
        if self._requested:
            return "trigger"
        if not lacking["new"]:
            return "new frames"
        return "drift" if self.kept >= self.config.drift.new_frames and self.drift_detector.drift else ""

    @property
    def needed_at_end(self) -> dict[str, int]:
        """The number of frames that a round needs once no more come, by kind as in ``lacking``: half of the usual."""
        return {name: -(-count // 2) for name, count in self._needed.items()}

    @property
    def lacking_at_end(self) -> dict[str, int]:
        """``lacking``, once no more frames come."""
        return self._lacking(self.needed_at_end)

    @property
    def has_frames(self) -> bool:
        """Whether there are frames enough for a round once no more come, new or not; in mode ``observe``, any."""
        if self._observing:
            return len(self.scene_frames()[0]) > 0
        lacking = self.lacking_at_end
        return not (lacking["training"] or lacking["held_out"])

    @property
    def due_at_end(self) -> bool:
        """Whether a round is due once no more frames come; in mode ``observe``, any number of frames will do."""
        if self._observing and self.kept and len(self.scene_frames()[0]):
            return True
        return not any(self.lacking_at_end.values())

    @property
    def _needed(self) -> dict[str, int]:
        rounds = self.config.rounds
        return {
            "training": rounds.min_frames,
            "held_out": 0 if self._observing else rounds.min_held_out,
            "new": 0 if self._first else rounds.new_frames,
        }

    def _lacking(self, needed: Mapping[str, int]) -> dict[str, int]:
        training, held_out = self.scene_frames()
        there = {"training": len(training), "held_out": len(held_out), "new": self.kept}
        return {name: max(count - there[name], 0) for name, count in needed.items()}
