"""Sparse convolutions on the CPU equal dense ones, whatever the number of threads."""

import pytest
import torch
from torch import nn

from sam_adapt_ros.segmentation.sparse_convolution import NATIVE, spconv

SIZE = 48  # 33,000 voxels: with few, threads do not share the work


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def voxels(channels):
    occupied = torch.rand(SIZE, SIZE, SIZE, generator=torch.manual_seed(0)) < 0.3
    indices = torch.cat([torch.zeros(int(occupied.sum()), 1), occupied.nonzero()], 1).int()
    return indices, torch.randn(len(indices), channels)


def dense(features, indices):
    return spconv.SparseConvTensor(features, indices, [SIZE] * 3, 1).dense()


def at(volume, indices):
    batch, x, y, z = indices.long().T
    return volume[batch, :, x, y, z]


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("kind", ["submanifold", "strided"])
def test_equals_the_dense_convolution(kind, count, threads):
    threads(count)
    indices, features = voxels(8)
    if kind == "submanifold":
        sparse, options = spconv.SubMConv3d(8, 12, 3, bias=False, algo=NATIVE), {"padding": 1}
    else:
        sparse, options = spconv.SparseConv3d(8, 12, 2, stride=2, bias=False, algo=NATIVE), {"stride": 2}
    inputs, reference = features.clone().requires_grad_(), features.clone().requires_grad_()
    weight = sparse.weight.detach().permute(0, 4, 1, 2, 3).clone().requires_grad_()

    output = sparse(spconv.SparseConvTensor(inputs, indices, [SIZE] * 3, 1))
    expected = at(nn.functional.conv3d(dense(reference, indices), weight, **options), output.indices)
    torch.testing.assert_close(output.features, expected, rtol=1e-4, atol=1e-5)

    slope = torch.randn_like(expected)
    (output.features * slope).sum().backward()
    (expected * slope).sum().backward()
    torch.testing.assert_close(inputs.grad, reference.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sparse.weight.grad.permute(0, 4, 1, 2, 3), weight.grad, rtol=1e-3, atol=1e-3)


def test_inverse_convolution_equals_the_dense_transposed_one(threads):
    threads(4)
    indices, features = voxels(8)
    down = spconv.SparseConv3d(8, 12, 2, stride=2, bias=False, algo=NATIVE, indice_key="key")
    up = spconv.SparseInverseConv3d(12, 8, 2, bias=False, indice_key="key", algo=NATIVE)
    with torch.no_grad():
        coarse = down(spconv.SparseConvTensor(features, indices, [SIZE] * 3, 1))
        output = up(coarse)
        weight = up.weight.permute(4, 0, 1, 2, 3)
        expected = at(nn.functional.conv_transpose3d(coarse.dense(), weight, stride=2), output.indices)
    torch.testing.assert_close(output.features, expected, rtol=1e-4, atol=1e-5)


def test_repeated_calls_are_equal_to_the_last_bit(threads):
    threads(4)
    indices, features = voxels(16)
    convolution = spconv.SubMConv3d(16, 32, 3, bias=False, algo=NATIVE)
    with torch.no_grad():
        outputs = [convolution(spconv.SparseConvTensor(features, indices, [SIZE] * 3, 1)).features for _ in range(10)]
    assert all(torch.equal(output, outputs[0]) for output in outputs)
