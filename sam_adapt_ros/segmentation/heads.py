"""The two classifiers on top of each branch's features."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class BranchOutput:
    """Predictions of a branch for N points, C classes.

    logits: (N, C) of the branch's own classifier.
    imitation: (N, C) logits by which it predicts the other branch's prediction; used in training only. None: the branch
        does not learn from the other one.
    """

    logits: Tensor
    imitation: Tensor | None = None

    def rows(self, index: Tensor) -> BranchOutput:
        """The output at the given rows, (M,) int64."""
        imitation = None if self.imitation is None else self.imitation.index_select(0, index)
        return BranchOutput(self.logits.index_select(0, index), imitation)


class DualHeads(nn.Module):
    """xMUDA's dual heads: learning to imitate the other branch does not change how a branch classifies.

    Jaritz, Vu, de Charette, Wirbel, Pérez: xMUDA: Cross-Modal Unsupervised Domain Adaptation for 3D Semantic
    Segmentation, CVPR 2020.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.classify = nn.Linear(features, classes)
        self.imitate = nn.Linear(features, classes)

    def forward(self, features: Tensor) -> BranchOutput:
        """features: (N, F)."""
        return BranchOutput(self.classify(features), self.imitate(features))
