"""The backends of the sparse convolutions, by name; spconv is optional."""

import pytest

from sam_adapt_ros.segmentation.sparse_convolution import Backend, torch_backend

BACKENDS = ("torch", "spconv")


def load_backend(name: str) -> Backend:
    """Skips the test where spconv is asked for and not installed."""
    if name == "torch":
        return torch_backend
    pytest.importorskip("spconv.pytorch", reason="spconv is not installed: pip install '.[spconv]'")
    from sam_adapt_ros.segmentation.spconv_backend import spconv_backend

    return spconv_backend
