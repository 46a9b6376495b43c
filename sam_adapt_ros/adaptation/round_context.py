"""What one round of learning works on, and what its steps hand on to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sam_adapt_ros.adaptation.buffer.frame_sequence import FrameSequence
from sam_adapt_ros.adaptation.promotion.candidate_evaluation import CandidateEvaluator
from sam_adapt_ros.adaptation.promotion.candidate_metrics import Baselines
from sam_adapt_ros.adaptation.round_state import RoundFiles, RoundState
from sam_adapt_ros.cancellation import CancellationToken
from sam_adapt_ros.pseudo_labels import PreparedFrame
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.segmentation_network import State


@dataclass(eq=False)
class RoundContext:
    """The context of one round.

    state: the round's, kept in ``files``. training, held_out: the frames for training and for evaluation.
    in_use: the weights in use; None when they are the source's. same_scene: they were learned in the present scene.
    Otherwise they fit the scene no better than the source, which then makes the pseudo-labels alone and completes the
    candidates of which one branch was trained: else the weights in use would be evaluated by their own predictions,
    and would stay when the source is the better one again.
    """

    state: RoundState
    files: RoundFiles
    token: CancellationToken
    training: FrameSequence
    held_out: FrameSequence
    in_use: State | None
    same_scene: bool

    prepared: list[PreparedFrame] = field(default_factory=list)  # of the training frames, then of the held-out ones
    source: State = field(default_factory=dict)
    current: State = field(default_factory=dict)  # what is in use, the source's included
    batchnorm: State = field(default_factory=dict)  # the source with re-estimated statistics
    renewed: State = field(default_factory=dict)  # what is in use with re-estimated statistics
    start: State = field(default_factory=dict)  # what the student starts from
    candidates: dict[str, State] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)  # of candidates that are one branch of another, that one's name
    evaluation: tuple[CandidateEvaluator, Baselines] | None = None  # made by the first step that needs it

    @property
    def training_samples(self) -> list[Sample]:
        """Of the training frames; their labels are the ground truth, where that is known."""
        return [frame.sample for frame in self.prepared[: len(self.training)]]

    @property
    def labelled_training(self) -> list[Sample]:
        """The samples to learn from, with pseudo-labels."""
        return _with_labels(self.training_samples, self.state, self.state.training)

    @property
    def labelled_held_out(self) -> list[Sample]:
        """The held-out samples, with pseudo-labels."""
        samples = [frame.sample for frame in self.prepared[len(self.training) :]]
        return _with_labels(samples, self.state, self.state.held_out)


def _with_labels(samples: Sequence[Sample], state: RoundState, keys: Sequence[int]) -> list[Sample]:
    """The samples of the frames with these keys, with the round's pseudo-labels."""
    labels = [state.pseudo_labels[key] for key in keys]
    return [replace(sample, labels=each[sample.rows]) for sample, each in zip(samples, labels, strict=True)]
