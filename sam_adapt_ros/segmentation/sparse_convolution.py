"""spconv, as this package uses it on CUDA and on the CPU."""

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
"""The one algorithm that runs on the CPU; CUDA has faster ones. The weights' layout is the same for all."""

HAS_CUDA = torch.cuda.is_available() and not CPU_ONLY_BUILD
"""Both torch and this build of spconv can use CUDA."""

if not torch.cuda.is_available():
    # spconv's backward pass asks for the CUDA stream before it looks at the tensors' device, and fails where there
    # is no CUDA although the CPU path never uses the stream.
    _ops.get_current_stream = lambda: 0

# spconv asks torch what newer versions would rather be asked otherwise; that is nothing a user could mend.
logging.getLogger("torch.fx._symbolic_trace").addFilter(lambda record: "is_fx_tracing" not in record.getMessage())


def set_algorithm(module: nn.Module, device: torch.device) -> None:
    """Lets every sparse convolution below ``module`` use the algorithm that is best on the device."""
    algorithm = ConvAlgo.MaskImplicitGemm if device.type == "cuda" else NATIVE
    for convolution in module.modules():
        if isinstance(convolution, SparseConvolution):
            convolution.algo = algorithm
