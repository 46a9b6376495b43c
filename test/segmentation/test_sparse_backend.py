"""The choice of the backend, with spconv absent, broken in several ways, and whole."""

import sys
import time
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from backend_support import load_backend

from sam_adapt_ros.config import SegmenterConfig
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.segmentation import Segmenter, sparse_backend
from sam_adapt_ros.segmentation.sparse_backend import choose_backend
from sam_adapt_ros.segmentation.sparse_convolution import torch_backend

CPU = torch.device("cpu")
BACKEND_MODULE = "sam_adapt_ros.segmentation.spconv_backend"


@pytest.fixture(autouse=True)
def said(monkeypatch):
    """What is logged; each test begins as a process does."""
    lines = []
    monkeypatch.setattr(sparse_backend, "notices", Notices(lines.append))
    whole = sys.modules.pop(BACKEND_MODULE, None)
    for cached in (sparse_backend.find_spconv_problem, sparse_backend.find_faster):
        cached.cache_clear()
    yield lines
    for cached in (sparse_backend.find_spconv_problem, sparse_backend.find_faster):
        cached.cache_clear()
    sys.modules.pop(BACKEND_MODULE, None)
    if whole is not None:
        sys.modules[BACKEND_MODULE] = whole


@pytest.fixture
def auto_takes_spconv(monkeypatch):
    """As on a machine with CUDA."""
    monkeypatch.setattr(sparse_backend, "SPCONV_DEVICES", ("cpu",))


@pytest.fixture
def spconv_is_faster(monkeypatch):
    """As it may be on a GPU."""
    monkeypatch.setattr(
        sparse_backend, "_milliseconds", lambda backend, device: 2.0 if backend is torch_backend else 1.0
    )


def install(monkeypatch, **names):
    """A spconv that imports, whatever is installed. names: of ``spconv.pytorch``."""
    spconv, pytorch = ModuleType("spconv"), ModuleType("spconv.pytorch")
    spconv.__spec__ = SimpleNamespace(name="spconv")
    core, ops = ModuleType("spconv.core"), ModuleType("spconv.pytorch.ops")
    core.ConvAlgo = SimpleNamespace(Native=0, MaskImplicitGemm=1)
    ops.indice_conv = ops.indice_conv_backward = None
    pytorch.ops, spconv.pytorch, spconv.core = ops, pytorch, core
    for name, value in names.items():
        setattr(pytorch, name, value)
    for module in (spconv, pytorch, core, ops):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def fails(*_, **__):
    raise RuntimeError("CUDA error: no kernel image is available\nfor execution on the device")


def test_torch_is_the_one_on_a_cpu(said):
    assert choose_backend("auto", CPU) is torch_backend
    assert choose_backend("torch", torch.device("cuda")) is torch_backend
    assert not said


def test_spconv_that_fails_at_its_first_call(monkeypatch, auto_takes_spconv, said, network, shapes, make_frame):
    """Labels are as with PyTorch's; the reason is said once, however often weights are exchanged."""
    install(monkeypatch, SparseConvTensor=fails)
    expected = Segmenter(network, shapes, SegmenterConfig(sparse_backend="torch"))(make_frame())
    for _ in range(3):
        segmenter = Segmenter(network, shapes)
        assert network.points.backend is torch_backend
        np.testing.assert_array_equal(segmenter(make_frame()).fused, expected.fused)
    (line,) = said
    for part in ("segmenter.sparse_backend", "fails at its first call", "no kernel image is available", "PyTorch's"):
        assert part in line
    assert "\n" not in line
    assert list(segmenter.notices) == [line]


def test_spconv_that_does_not_import(monkeypatch, auto_takes_spconv, said):
    install(monkeypatch)
    monkeypatch.delattr(sys.modules["spconv.core"], "ConvAlgo")
    assert choose_backend("auto", CPU) is torch_backend
    (line,) = said
    assert "cannot be imported: ImportError" in line


def test_spconv_that_computes_something_else(monkeypatch, auto_takes_spconv, said):
    install(monkeypatch)
    module = ModuleType(BACKEND_MODULE)
    module.spconv_backend = lambda voxels, frames, levels: WrongGrid(torch_backend(voxels, frames, levels))
    monkeypatch.setitem(sys.modules, BACKEND_MODULE, module)
    assert choose_backend("auto", CPU) is torch_backend
    (line,) = said
    assert "computes wrong results" in line


class WrongGrid:
    def __init__(self, grid):
        self.grid = grid
        self.submanifold, self.down = grid.submanifold, grid.down

    def up(self, features, kernel):
        return self.grid.up(features, kernel).flip(0)


def test_no_spconv_is_nothing_to_speak_of(monkeypatch, auto_takes_spconv, said):
    monkeypatch.setitem(sys.modules, "spconv", None)
    assert choose_backend("auto", CPU) is torch_backend
    assert not said
    with pytest.raises(ConfigError, match=r"segmenter\.sparse_backend: spconv .* is not installed.*\[spconv\]"):
        choose_backend("spconv", CPU)


def test_spconv_that_is_asked_for_and_fails_is_an_error(monkeypatch, network, shapes):
    install(monkeypatch, SparseConvTensor=fails)
    with pytest.raises(ConfigError, match=r"segmenter\.sparse_backend: .*first call.*use auto or torch"):
        Segmenter(network, shapes, SegmenterConfig(sparse_backend="spconv"))


@pytest.mark.parametrize(("device", "taken"), [("cuda", True), ("cpu", False), ("mps", False)])
def test_where_spconv_is_taken_by_itself(monkeypatch, spconv_is_faster, said, device, taken):
    """On a machine with CUDA, whose own spconv is not to be had here: it works on whatever device it is tried."""
    install(monkeypatch)
    module = ModuleType(BACKEND_MODULE)
    module.spconv_backend = lambda voxels, frames, levels: torch_backend(voxels, frames, levels)
    monkeypatch.setitem(sys.modules, BACKEND_MODULE, module)
    own, tried = sparse_backend._try, []
    monkeypatch.setattr(sparse_backend, "_try", lambda backend, device: tried.append(device) or own(backend, "cpu"))
    assert choose_backend(SegmenterConfig().sparse_backend, torch.device(device)) is (
        module.spconv_backend if taken else torch_backend
    )
    assert tried == ["cuda", "cuda"] * taken  # by PyTorch's backend and by spconv's
    assert not said


def test_spconv_that_works_is_taken(auto_takes_spconv, spconv_is_faster, said, network, shapes, make_frame):
    load_backend("spconv")
    expected = Segmenter(network, shapes, SegmenterConfig(sparse_backend="torch"))(make_frame())
    for name in ("auto", "spconv"):
        segmenter = Segmenter(network, shapes, SegmenterConfig(sparse_backend=name))
        assert network.points.backend.__name__ == "spconv_backend"
        np.testing.assert_allclose(segmenter(make_frame()).fused, expected.fused, atol=1e-5)
    assert not said


def test_spconv_that_is_slower_is_taken_only_where_it_is_asked_for(monkeypatch, auto_takes_spconv, said, caplog):
    """A backend that does PyTorch's work, after a while."""
    install(monkeypatch)
    module = ModuleType(BACKEND_MODULE)

    def spconv_backend(voxels, frames, levels):
        time.sleep(delays[0])
        return torch_backend(voxels, frames, levels)

    module.spconv_backend = spconv_backend
    monkeypatch.setitem(sys.modules, BACKEND_MODULE, module)
    delays = [0.1]
    with caplog.at_level("INFO"):
        assert choose_backend("auto", CPU) is torch_backend
    assert "PyTorch's are used" in caplog.text
    assert choose_backend("spconv", CPU) is spconv_backend
    times = [sparse_backend._milliseconds(backend, "cpu") for backend in (torch_backend, spconv_backend)]
    assert times[0] < times[1] and times[1] > 100
    assert not said  # nothing is wrong with it


def test_spconv_that_fails_at_many_voxels(monkeypatch, auto_takes_spconv, said):
    install(monkeypatch)
    module = ModuleType(BACKEND_MODULE)

    def spconv_backend(voxels, frames, levels):
        return fails() if len(voxels) > 100 else torch_backend(voxels, frames, levels)

    module.spconv_backend = spconv_backend
    monkeypatch.setitem(sys.modules, BACKEND_MODULE, module)
    assert choose_backend("auto", CPU) is torch_backend
    assert choose_backend("auto", CPU) is torch_backend
    assert len(said) == 1 and "fails at a plane of voxels: RuntimeError: CUDA error" in said[0]
