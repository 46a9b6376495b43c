"""Which backend computes the sparse convolutions: PyTorch everywhere, spconv on CUDA where it works and is faster."""

from __future__ import annotations

import importlib.util
import logging
import time
from functools import lru_cache

import torch
from torch import Tensor

from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.segmentation.segmentation_network import autocast
from sam_adapt_ros.segmentation.sparse_convolution import Backend, Grid, torch_backend

logger = logging.getLogger(__name__)

SPCONV_DEVICES = ("cuda",)
"""Where ``auto`` takes spconv. On a CPU, PyTorch's is the faster one."""

notices = Notices()
"""Of this process: a problem of spconv is said once, however many networks are made."""


def choose_backend(name: str, device: torch.device) -> Backend:
    """The backend of a configuration's ``auto``, ``torch`` or ``spconv``.

    ``auto`` is spconv on CUDA where it works and is faster, PyTorch otherwise; that an installed spconv does not work
    is said in ``notices``.

    Raises ConfigError for ``spconv`` where it does not work.
    """
    if name == "torch" or (name == "auto" and device.type not in SPCONV_DEVICES):
        return torch_backend
    problem = find_spconv_problem(device.type)
    if not problem:
        from sam_adapt_ros.segmentation.spconv_backend import spconv_backend

        return spconv_backend if name == "spconv" else find_faster(spconv_backend, device.type)
    if name == "spconv":
        raise ConfigError(
            f"segmenter.sparse_backend: spconv is configured, but it {problem}; use auto or torch, or install the "
            f"build for {device.type}: pip install 'sam_adapt_ros[{'cuda' if device.type == 'cuda' else 'spconv'}]'"
        )
    if importlib.util.find_spec("spconv") is not None:
        _report(problem, device.type)
    return torch_backend


def _report(problem: str, device: str) -> None:
    notices.add(
        "sparse_backend",
        f"segmenter.sparse_backend: spconv is installed, but it {problem}; sparse convolutions are PyTorch's, with the "
        f"same results. Install the build for this {device}, or set segmenter.sparse_backend: torch",
    )


@lru_cache
def find_spconv_problem(device: str) -> str:
    """Why spconv is of no use on a type of device: how a sentence that begins with "it" goes on; "" where it works.

    It is tried forward and backward on a few voxels, and in the number format of labels, and has to give PyTorch's
    result: builds for another CUDA or another GPU import, and fail when they compute.
    """
    try:
        if importlib.util.find_spec("spconv") is None:
            return "is not installed"
        from sam_adapt_ros.segmentation.spconv_backend import spconv_backend
    except Exception as error:  # whatever a broken build raises
        return f"cannot be imported: {_describe(error)}"
    try:
        expected, found = (_try(backend, device) for backend in (torch_backend, spconv_backend))
    except Exception as error:
        return f"fails at its first call: {_describe(error)}"
    if not all(torch.allclose(a, b, rtol=1e-2, atol=1e-2) for a, b in zip(expected, found, strict=True)):
        return "computes wrong results"
    return ""


def _try(backend: Backend, device: str) -> list[Tensor]:
    """The features that each kind of convolution makes of eight voxels in a row, also as frames are labelled on CUDA,
    and the kernels' gradients."""
    row = torch.arange(8, dtype=torch.int32, device=device)
    voxels = torch.stack([row * 0, row * 0, row * 0, row], 1)
    features = torch.linspace(-1, 1, 8 * 16, device=device).reshape(8, 16)
    with torch.inference_mode(False), torch.enable_grad():
        kernels = [
            torch.linspace(-1, 1, 16 * side**3 * 16, device=device).reshape(16, side, side, side, 16).requires_grad_()
            for side in (3, 2, 2)
        ]
        output = _convolved(backend(voxels, 1, 2), features, kernels)
        gradients = torch.autograd.grad(output.sum(), kernels)
        with torch.no_grad(), autocast(torch.device(device), torch.float16):
            labels = _convolved(backend(voxels, 1, 2), features, kernels).float()
    scaled = [tensor / tensor.abs().max().clamp(min=1) for tensor in (output, *gradients, labels)]
    return [tensor.detach().cpu() for tensor in scaled]


@lru_cache
def find_faster(spconv: Backend, device: str) -> Backend:
    """spconv's backend or PyTorch's: the one that is faster on a type of device, at labelling a plane of 16,384 voxels,
    the best of several times. PyTorch's where spconv fails at so many voxels, which is said in ``notices``."""
    try:
        milliseconds = _milliseconds(torch_backend, device), _milliseconds(spconv, device)
    except Exception as error:
        _report(f"fails at a plane of voxels: {_describe(error)}", device)
        return torch_backend
    faster, name = (spconv, "spconv's") if milliseconds[1] < milliseconds[0] else (torch_backend, "PyTorch's")
    text = (
        "sparse convolutions on %s: PyTorch's take %.2f ms, spconv's %.2f ms, on a plane of 16,384 voxels; %s are used"
    )
    logger.info(text, device, *milliseconds, name)
    return faster


def _milliseconds(backend: Backend, device: str) -> float:
    places = torch.arange(128, dtype=torch.int32, device=device)
    voxels = torch.cartesian_prod(places[:1], places, places, places[:1])
    features = torch.ones(len(voxels), 16, device=device)
    kernels = [torch.ones(16, side, side, side, 16, device=device) for side in (3, 2, 2)]
    times = []
    with torch.no_grad(), autocast(torch.device(device), torch.float16):
        for _ in range(6):  # the first times are of loading and of choosing kernels
            start = time.perf_counter()
            float(_convolved(backend(voxels, 1, 2), features, kernels).float().sum())  # waits for a GPU
            times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def _convolved(grid: Grid, features: Tensor, kernels: list[Tensor]) -> Tensor:
    fine = grid.submanifold(features, kernels[0])
    return grid.up(grid.down(fine, kernels[1]), kernels[2])


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
