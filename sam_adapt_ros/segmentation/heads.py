"""The two heads that each branch has."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class BranchOutput:
    """What a branch says of N points.

    features: (N, F), what the heads see.
    logits: (N, C), the branch's own opinion.
    imitation: (N, C) logits of what the branch believes the other modality thinks; used in training only.
    """

    features: Tensor
    logits: Tensor
    imitation: Tensor

    def rows(self, index: Tensor) -> BranchOutput:
        """The output at the given rows, (M,) int64."""
        return BranchOutput(*(x.index_select(0, index) for x in (self.features, self.logits, self.imitation)))


class DualHeads(nn.Module):
    """xMUDA's dual heads: one classifies, the other imitates the other modality, so that imitation harms neither."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.classify = nn.Linear(features, classes)
        self.imitate = nn.Linear(features, classes)

    def forward(self, features: Tensor) -> BranchOutput:
        return BranchOutput(features, self.classify(features), self.imitate(features))
