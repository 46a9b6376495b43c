"""Sparse convolutions on the CPU equal dense ones, by either backend and whatever the number of threads."""

import numpy as np
import pytest
import torch
from backend_support import BACKENDS, load_backend
from torch.nn import functional

from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation import Segmenter, sparse_convolution
from sam_adapt_ros.segmentation.batch import Sample, collate
from sam_adapt_ros.segmentation.point_branch import PointBranch
from sam_adapt_ros.segmentation.sparse_convolution import SparseConvolution, torch_backend
from sam_adapt_ros.segmentation.sparse_maps import _places

SIZE = 48  # 33,000 voxels: with few, threads do not share the work


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(params=[*BACKENDS, "torch as on a GPU"])
def backend(request, monkeypatch):
    if request.param in BACKENDS:
        return load_backend(request.param)
    monkeypatch.setattr(sparse_convolution, "_at_once", lambda features: True)
    monkeypatch.setattr(sparse_convolution, "_GATHERED", 1 << 17)  # several times for each convolution
    return torch_backend


def voxels(share=0.3, size=SIZE, frames=1, seed=0):
    return (torch.rand(frames, size, size, size, generator=torch.manual_seed(seed)) < share).nonzero().int()


def dense(features, coordinates, size=SIZE):
    frames = int(coordinates[:, 0].max()) + 1
    volume = features.new_zeros(frames, size, size, size, features.shape[1])
    return volume.index_put(tuple(coordinates.long().T), features).permute(0, 4, 1, 2, 3)


def at(volume, coordinates):
    frame, x, y, z = coordinates.long().T
    return volume[frame, :, x, y, z]


def halved(coordinates):
    return torch.cat([coordinates[:, :1], coordinates[:, 1:] >> 1], 1)


def check_gradients(output, expected, inputs, references):
    slope = torch.randn_like(expected)
    (output * slope).sum().backward()
    (expected * slope).sum().backward()
    for name, mine, reference in zip(("features", "kernel"), inputs, references, strict=True):
        scale = reference.grad.abs().max()
        torch.testing.assert_close(mine.grad / scale, reference.grad / scale, rtol=1e-4, atol=1e-5, msg=name)


def operands(coordinates, inputs, outputs, size):
    """Features and a kernel, for the sparse and for the dense convolution."""
    generator = torch.manual_seed(1)
    features = torch.randn(len(coordinates), inputs, generator=generator)
    kernel = torch.randn(outputs, size, size, size, inputs, generator=generator)
    return [[tensor.clone().requires_grad_() for tensor in (features, kernel)] for _ in range(2)]


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("share", [0.002, 0.3])
def test_submanifold_equals_the_dense_convolution(backend, share, count, threads):
    threads(count)
    coordinates = voxels(share)
    (features, kernel), (own_features, own_kernel) = operands(coordinates, 8, 12, 3)
    output = backend(coordinates, 1, 1).submanifold(features, kernel)
    volume = functional.conv3d(dense(own_features, coordinates), own_kernel.permute(0, 4, 1, 2, 3), padding=1)
    expected = at(volume, coordinates)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    check_gradients(output, expected, (features, kernel), (own_features, own_kernel))


@pytest.mark.parametrize("count", [1, 4])
def test_down_and_up_equal_the_dense_convolutions(backend, count, threads):
    """One after the other: the order of the coarser voxels is the backend's own."""
    threads(count)
    coordinates = voxels(0.1)
    (features, kernel), (own_features, own_kernel) = operands(coordinates, 8, 12, 2)
    (_, back), (_, own_back) = operands(coordinates, 12, 6, 2)
    grid = backend(coordinates, 1, 2)
    output = grid.up(grid.down(features, kernel), back)
    coarse = functional.conv3d(dense(own_features, coordinates), own_kernel.permute(0, 4, 1, 2, 3), stride=2)
    volume = functional.conv_transpose3d(coarse, own_back.permute(4, 0, 1, 2, 3), stride=2)
    expected = at(volume, coordinates)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    check_gradients(output, expected, (features, kernel), (own_features, own_kernel))
    torch.testing.assert_close(back.grad, own_back.grad, rtol=1e-3, atol=1e-3)


def test_coarser_voxels_are_neighbours_of_each_other(backend):
    coordinates = voxels(0.02)
    (features, kernel), _ = operands(coordinates, 4, 4, 2)
    (_, middle), _ = operands(coordinates, 4, 4, 3)
    grid = backend(coordinates, 1, 2)
    with torch.no_grad():
        halves = grid.down(features, kernel)
        output = grid.up(grid.coarser.submanifold(halves, middle), kernel)
        coarse = functional.conv3d(dense(features, coordinates), kernel.permute(0, 4, 1, 2, 3), stride=2)
        occupied = dense(torch.ones(len(coordinates), 1), halved(coordinates), SIZE // 2) > 0
        volume = functional.conv3d(coarse, middle.permute(0, 4, 1, 2, 3), padding=1) * occupied
        volume = functional.conv_transpose3d(volume, kernel.permute(4, 0, 1, 2, 3), stride=2)
    torch.testing.assert_close(output, at(volume, coordinates), rtol=1e-4, atol=1e-5)


class Elsewhere(torch.Tensor):
    """A tensor of the CPU that says that it is on a GPU."""

    device = torch.device("cuda")


def test_neighbours_are_looked_up_alike_on_every_device():
    keys = torch.randint(0, 900, (300,), generator=torch.manual_seed(0)).unique()
    wanted = torch.stack([keys - 1, keys, keys + 40])
    found = _places(keys.as_subclass(Elsewhere), wanted)
    assert type(found) is Elsewhere and found.dtype == torch.int64
    assert torch.equal(found.as_subclass(torch.Tensor), _places(keys, wanted))


def test_frames_do_not_touch(backend):
    """The last voxels of a row, of a plane and of a frame are not neighbours of the first ones of the next."""
    coordinates = voxels(0.9, size=3, frames=3)
    (features, kernel), _ = operands(coordinates, 3, 3, 3)
    with torch.no_grad():
        output = backend(coordinates, 3, 1).submanifold(features, kernel)
        volume = functional.conv3d(dense(features, coordinates, 3), kernel.permute(0, 4, 1, 2, 3), padding=1)
    torch.testing.assert_close(output, at(volume, coordinates), rtol=1e-4, atol=1e-5)


def test_one_voxel_alone(backend):
    coordinates = torch.tensor([[0, 5, 6, 7]], dtype=torch.int32)
    (features, kernel), _ = operands(coordinates, 3, 2, 3)
    grid = backend(coordinates, 1, 2)
    output = grid.submanifold(features, kernel)
    torch.testing.assert_close(output, features @ kernel[:, 1, 1, 1].T)
    output.sum().backward()
    torch.testing.assert_close(features.grad, kernel[:, 1, 1, 1].sum(0, keepdim=True))


@pytest.mark.parametrize(
    "rows", [[[0, 0, 0, 1], [0, 0, 0, 0]], [[0, 0, 0, 1], [0, 0, 0, 1]], [[1, 0, 0, 0], [0, 1, 0, 0]]]
)
def test_voxels_in_another_order_are_refused(rows):
    """Neighbours are found by order: a wrong one would make wrong features, not an error."""
    with pytest.raises(ValueError, match="ascending order"):
        torch_backend(torch.tensor(rows, dtype=torch.int32), 2, 1)


def test_voxels_too_far_apart_for_the_keys_are_refused():
    rows = [[0, 0, 0, 0], [0, 2**31 - 1, 2**31 - 1, 2**31 - 1]]
    with pytest.raises(ValueError, match=r"2\^63"):
        torch_backend(torch.tensor(rows, dtype=torch.int32), 1, 1)
    grid = torch_backend(torch.tensor([[0, 0, 0, 0], [0, 10**6, 10**6, 10**6]], dtype=torch.int32), 1, 1)
    assert grid.submanifold(torch.ones(2, 1), torch.ones(1, 3, 3, 3, 1)).tolist() == [[1], [1]]


def test_autocast_computes_in_its_type_and_learns_in_the_parameters_type(backend):
    coordinates = voxels(0.05, size=16)
    (features, kernel), (own_features, own_kernel) = operands(coordinates, 8, 8, 3)
    grid = backend(coordinates, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        output = grid.submanifold(features, kernel)
        with torch.no_grad():
            assert grid.submanifold(features, kernel).dtype == torch.bfloat16
    assert output.dtype == torch.bfloat16
    expected = grid.submanifold(own_features, own_kernel)
    torch.testing.assert_close(output.float(), expected, rtol=0.05, atol=0.3)
    output.float().sum().backward()
    expected.sum().backward()
    assert features.grad.dtype == kernel.grad.dtype == torch.float32
    torch.testing.assert_close(kernel.grad, own_kernel.grad, rtol=0.05, atol=0.5)


@pytest.mark.parametrize("count", [1, 4])
def test_repeated_calls_are_equal_to_the_last_bit(backend, count, threads):
    threads(count)
    coordinates = voxels()
    (features, kernel), _ = operands(coordinates, 16, 32, 3)
    results = []
    for _ in range(5):
        features.grad = kernel.grad = None
        output = backend(coordinates, 1, 1).submanifold(features, kernel)
        output.square().sum().backward()
        results.append((output, features.grad, kernel.grad))
    assert all(torch.equal(a, b) for result in results for a, b in zip(result, results[0], strict=True))


def test_a_kernel_begins_as_one_of_torch_s():
    torch.manual_seed(0)
    mine = SparseConvolution("submanifold", 8, 16).weight
    torch.manual_seed(0)
    torchs = torch.nn.Conv3d(8, 16, 3, bias=False).weight
    assert mine.shape == (16, 3, 3, 3, 8)
    torch.testing.assert_close(mine.detach().flatten().sort()[0], torchs.detach().flatten().sort()[0])


def test_both_backends_agree_on_the_shipped_network():
    """Logits, and the gradients of every parameter."""
    other = load_backend("spconv")
    branch: PointBranch = Segmenter.load("town_small.safetensors").network.points.requires_grad_(True)
    coordinates = voxels(0.05, frames=2)
    features = torch.randn(len(coordinates), 4, generator=torch.manual_seed(0))
    points = torch.arange(len(coordinates))
    found = []
    for branch.backend in (torch_backend, other):
        branch.eval()
        logits = branch(coordinates, features, points, 2).logits
        branch.zero_grad()
        logits.square().mean().backward()
        parameters = {name: own for name, own in branch.named_parameters() if own.grad is not None}
        found.append((logits.detach(), {name: own.grad.clone() for name, own in parameters.items()}))
    (logits, gradients), (others, other_gradients) = found
    assert logits.abs().max() > 1
    torch.testing.assert_close(logits, others, rtol=0, atol=1e-4)
    assert gradients.keys() == other_gradients.keys()
    for name, gradient in gradients.items():
        scale = gradient.abs().max()
        torch.testing.assert_close(gradient / scale, other_gradients[name] / scale, rtol=0, atol=1e-3, msg=name)


def test_both_backends_agree_on_a_real_sweep(real_data):
    other = load_backend("spconv")
    (file,) = (real_data / "nuscenes_keyframe" / "samples" / "LIDAR_TOP").iterdir()
    points = np.fromfile(file, np.float32).reshape(-1, 5)[:, :3]
    network = Segmenter.load("town_small.safetensors").network
    batch = collate([Sample.from_frame(Frame(0, "lidar", points), network.architecture)], network.architecture)
    found = []
    with torch.inference_mode():
        for network.points.backend in (torch_backend, other):
            found.append(network(batch).points.logits)
    assert len(found[0]) > 30_000 and found[0].std() > 1
    torch.testing.assert_close(*found, rtol=0, atol=1e-4)
