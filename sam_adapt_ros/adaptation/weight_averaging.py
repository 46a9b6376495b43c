"""States made of others: averages in weight space, and branches of different origin."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.segmentation.network import State


def interpolate(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> State:
    """``share`` of the way from one network's state to another's of the same shape (WiSE-FT: source and fine-tuned).

    Integer tensors are the end's. Networks on a straight path of this kind agree with both ends and forget less than
    the end does; it costs nothing when the network is used.
    """
    return {
        name: torch.lerp(start[name].float(), tensor.float(), share).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor.clone()
        for name, tensor in end.items()
    }


def assemble(image: Mapping[str, Tensor], points: Mapping[str, Tensor]) -> State:
    """One network's image branch with another's point branch."""
    return {name: (image if Branch.of_tensor(name) is Branch.IMAGE else points)[name].clone() for name in image}
