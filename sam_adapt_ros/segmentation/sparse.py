"""spconv, as this package uses it on CUDA and on the CPU."""

from __future__ import annotations

import spconv.pytorch as spconv
import torch
from spconv.core import ConvAlgo
from spconv.pytorch import ops as _ops

__all__ = ["ALGORITHM", "spconv"]

ALGORITHM = None if torch.cuda.is_available() else ConvAlgo.Native
"""None leaves the choice to spconv, whose fast kernels exist for CUDA only; on the CPU only ``Native`` does."""

if not torch.cuda.is_available():
    # spconv's backward pass asks for the CUDA stream before it looks at the tensors' device, and fails where there
    # is no CUDA although the CPU path never uses the stream.
    _ops.get_current_stream = lambda: 0
