"""Candidates in weight space: averages of two networks' weights, and branches of different networks combined."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.segmentation.segmentation_network import State


def average_weights(start: Mapping[str, Tensor], student: Mapping[str, Tensor], weight: float) -> State:
    """The weighted mean of the weights that training began with and those that it came to.

    Along the straight line between the two a network keeps much of what either of them can do, and inference costs the
    same (WiSE-FT: Wortsman et al., Robust Fine-Tuning of Zero-Shot Models, CVPR 2022, arXiv 2109.01903).

    weight: of the student, 0 to 1. Integer tensors are the student's.
    """
    return {
        name: torch.lerp(start[name].float(), tensor.float(), weight).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor.clone()
        for name, tensor in student.items()
    }


def combine_branches(image: Mapping[str, Tensor], points: Mapping[str, Tensor]) -> State:
    """One network's 2D branch with another's 3D branch; the branches share no weights, so that any two fit together."""
    return {name: (image if Branch.of_tensor(name) is Branch.IMAGE else points)[name].clone() for name in image}
