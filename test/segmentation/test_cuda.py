"""On a CUDA GPU: the same labels as on the CPU, and what learns there and makes masks there. Skipped without one."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from backend_support import BACKENDS, load_backend
from learning_support import drive, make_adapter, source_network, to_samples, watch

from sam_adapt_ros.adaptation.batchnorm import batchnorm_layers, reestimate_batchnorm
from sam_adapt_ros.adaptation.self_training import SelfTraining
from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.config import BatchNormConfig, Config, SegmenterConfig, SelfTrainingConfig
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.segmentation.sparse_backend import find_spconv_problem
from sam_adapt_ros.segmentation.sparse_convolution import torch_backend

pytestmark = pytest.mark.cuda
CUDA = torch.device("cuda")


@pytest.fixture(scope="module")
def frame(night_bag: Path) -> Frame:
    with BagReader(night_bag, Config.load("town")) as reader:
        return next(iter(reader.frames()))


def backend_on_cuda(name: str):
    backend = load_backend(name)
    if name == "spconv" and (problem := find_spconv_problem("cuda")):
        pytest.skip(f"spconv {problem}")
    return backend


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("precision", "alike", "tolerance"), [("float32", 0.9995, 1e-2), ("float16", 0.995, 0.1)])
def test_labels_are_the_cpus(frame: Frame, backend: str, precision: str, alike: float, tolerance: float) -> None:
    backend_on_cuda(backend)
    expected = Segmenter.load("town_small", SegmenterConfig(device="cpu", precision="float32"))(frame)
    config = SegmenterConfig(device="cuda", precision=precision, sparse_backend=backend)
    segmenter = Segmenter.load("town_small", config)
    found = segmenter(frame)
    assert segmenter.device.type == "cuda" and not segmenter.notices.as_dict()
    assert (found.labels == expected.labels).mean() >= alike
    assert np.quantile(np.abs(found.fused - expected.fused).max(1), 0.999) < tolerance


@pytest.mark.parametrize("name", BACKENDS)
def test_sparse_convolutions_and_their_gradients_are_the_cpus(name: str) -> None:
    backend = backend_on_cuda(name)
    voxels = (torch.rand(2, 24, 24, 24, generator=torch.manual_seed(0)) < 0.2).nonzero().int()
    features = torch.randn(len(voxels), 16)
    kernels = [torch.randn(16, side, side, side, 16) / 16 for side in (3, 2, 2)]

    def results(use, device: torch.device) -> list[torch.Tensor]:
        inputs = [each.to(device).requires_grad_() for each in (features, *kernels)]
        grid = use(voxels.to(device), 2, 2)
        fine = grid.submanifold(inputs[0], inputs[1])
        output = grid.up(grid.down(fine, inputs[2]), inputs[3])
        return [output.detach().cpu(), *(each.cpu() for each in torch.autograd.grad(output.square().sum(), inputs))]

    for expected, found in zip(results(torch_backend, torch.device("cpu")), results(backend, CUDA), strict=True):
        torch.testing.assert_close(found / expected.abs().max(), expected / expected.abs().max(), rtol=0, atol=3e-3)


def test_batchnorm_is_re_estimated_as_on_the_cpu() -> None:
    samples = to_samples(drive(4, dusk=True))
    on_cpu, on_cuda = (
        reestimate_batchnorm(source_network().to(device), samples, BatchNormConfig())
        for device in (torch.device("cpu"), CUDA)
    )
    assert on_cpu.keys() == on_cuda.keys() and batchnorm_layers(source_network())
    for name, expected in on_cpu.items():
        torch.testing.assert_close(on_cuda[name].cpu(), expected, rtol=2e-2, atol=2e-2, msg=name)


def test_a_student_learns_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    samples = to_samples(drive(4, dusk=True))
    config = SelfTrainingConfig(steps=30, epochs=100, batch_size=2, learning_rate=2e-3)
    network = partial(lambda: source_network().to(CUDA))
    run = SelfTraining(network(), samples, config)
    while run.done < 20:
        run.step()
    run.save(tmp_path / "training.safetensors")
    resumed = SelfTraining(network(), samples, config)
    resumed.load(tmp_path / "training.safetensors")
    assert resumed.done == 20
    while not resumed.finished:
        resumed.step()
    assert next(resumed.average.parameters()).device.type == "cuda"
    assert all(torch.isfinite(each).all() for each in resumed.average.state_dict().values())
    pairs = zip(network().parameters(), resumed.average.parameters(), strict=True)
    assert sum(not torch.equal(before, after) for before, after in pairs) > 20


def test_a_round_learns_a_new_domain(tmp_path: Path) -> None:
    """The adapter's, which the configuration leaves on the GPU."""
    adapter = make_adapter(tmp_path)
    watch(adapter, drive(16, dusk=True))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.max_memory_allocated()
    adapter.run_round()
    assert torch.cuda.max_memory_allocated() > before
    decision = adapter.decisions[-1]
    assert decision.promoted, decision.reason
