"""The branches of the network and their fusion."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import numpy as np
from numpy.typing import NDArray


class Branch(str, Enum):
    """The origin of a prediction: the 2D branch, the 3D branch, or the fusion of both.

    The values are the names in topics, files and reports.
    """

    IMAGE = "2d"
    POINTS = "3d"
    FUSED = "fused"

    def __str__(self) -> str:
        return self.value

    @property
    def module(self) -> str:
        """The branch's module in ``Network``, and so the first part of its tensors' names: ``image`` or ``points``.

        Raises ValueError for ``FUSED``, which has no weights.
        """
        if self is Branch.FUSED:
            raise ValueError("the fusion of both branches has no module of its own")
        return self.name.lower()

    @classmethod
    def of_tensor(cls, name: str) -> Branch:
        """The branch that a tensor or a layer of the network belongs to, by its name in the state dict."""
        return {branch.module: branch for branch in NETWORK_BRANCHES}[name.partition(".")[0]]


NETWORK_BRANCHES = (Branch.IMAGE, Branch.POINTS)
"""The branches with weights of their own."""

BranchLabels = Mapping[Branch, NDArray[np.uint8]]
"""(N,) class ids of one frame by branch, 255 where the branch has no prediction."""
