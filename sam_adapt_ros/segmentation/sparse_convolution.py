"""Sparse convolutions by spconv, on CUDA and on the CPU."""

from __future__ import annotations

import logging

import spconv.pytorch as spconv
import torch
from spconv.core import ConvAlgo
from spconv.cppconstants import CPU_ONLY_BUILD
from spconv.pytorch import ops as _ops
from spconv.pytorch.conv import SparseConvolution
from torch import nn

__all__ = ["HAS_CUDA", "NATIVE", "set_algorithm", "spconv"]

NATIVE = ConvAlgo.Native
"""The only algorithm of the CPU; CUDA has faster ones. The layout of the weights is the same for all."""

HAS_CUDA = torch.cuda.is_available() and not CPU_ONLY_BUILD
"""Both torch and this build of spconv can use CUDA."""

if not torch.cuda.is_available():
    # spconv's backward pass gets the current CUDA stream also for tensors on the CPU, which do not use it, and fails
    # where there is no CUDA.
    _ops.get_current_stream = lambda: 0

# spconv calls a function that torch has deprecated; the warning is of no use to a user.
logging.getLogger("torch.fx._symbolic_trace").addFilter(lambda record: "is_fx_tracing" not in record.getMessage())


def set_algorithm(module: nn.Module, device: torch.device) -> None:
    """Sets the fastest algorithm of the device in every sparse convolution of ``module``."""
    algorithm = ConvAlgo.MaskImplicitGemm if device.type == "cuda" else NATIVE
    for convolution in module.modules():
        if isinstance(convolution, SparseConvolution):
            convolution.algo = algorithm
