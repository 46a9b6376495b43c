"""Folded layers compute the same, and are fewer; where they would not, they stay as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from sam_adapt_ros.config import SegmenterConfig
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.segmentation.batch import Sample, collate
from sam_adapt_ros.segmentation.batchnorm_folding import fold_batchnorm
from sam_adapt_ros.segmentation.network import Network

IMAGE = torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)


def with_statistics(module: nn.Module) -> nn.Module:
    """Statistics and weights unlike those of new layers."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.running_var, layer.weight.data):
                tensor.uniform_(0.5, 2.0)
            for tensor in (layer.running_mean, layer.bias.data):
                tensor.uniform_(-1.0, 1.0)
    return module.eval()


class Elsewhere(nn.Module):
    """Convolution and BatchNorm are apart; one convolution has a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.bns = nn.ModuleList([nn.BatchNorm2d(5), nn.BatchNorm2d(4)])
        self.convs = nn.ModuleDict({"a": nn.Conv2d(3, 5, 3), "b": nn.Conv2d(5, 4, 1, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bns[0](self.convs["a"](x)))
        return self.bns[1](self.convs["b"](x))


class Shared(Elsewhere):
    """The first convolution's output is used without the BatchNorm, too."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs["a"](x)
        return self.convs["b"](self.bns[0](x) + x)


class WithActivation(nn.Module):
    """As in timm's EfficientNets, where BatchNorm layers have the activation within."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, bias=False), BatchNormAct2d(4, act_layer=nn.ReLU6)
        self.last, self.bn_last = nn.Conv2d(4, 4, 3, groups=4), BatchNormAct2d(4, apply_act=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn_last(self.last(self.bn(self.conv(x))))


class Twice(nn.Module):
    """A BatchNorm layer with two inputs, of which only the last is folded by whoever counts pairs alone."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.bn = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.a(x)) * self.bn(self.b(x))


@pytest.mark.parametrize(("kind", "left"), [(Elsewhere, 0), (WithActivation, 0), (Shared, 2), (Twice, 1)])
def test_what_is_folded_computes_the_same(kind: Callable[[], nn.Module], left: int) -> None:
    module = with_statistics(kind())
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    folded = fold_batchnorm(module, lambda each: each(IMAGE))
    torch.testing.assert_close(folded(IMAGE), module(IMAGE), rtol=1e-5, atol=1e-5)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules()) == left
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_a_gpu_compares_in_full_precision() -> None:
    """In TensorFloat-32, which cuDNN computes float32 convolutions in, what is the same may differ by more than what is
    let pass."""
    allowed: list[bool] = []

    def run(each: nn.Module) -> Tensor:
        allowed.append(torch.backends.cudnn.allow_tf32)
        return each(IMAGE)

    before = torch.backends.cudnn.allow_tf32
    fold_batchnorm(with_statistics(Elsewhere()), run)
    assert allowed == [False] * 3
    assert torch.backends.cudnn.allow_tf32 == before


def test_the_network_that_labels_has_no_batchnorm_over_images(
    network: Network, make_frame: Callable[..., Frame]
) -> None:
    """And the one that is learned from stays as it was."""
    with_statistics(network)
    names = set(network.state_dict())
    labelling = network.prepare_for_inference(torch.device("cpu"))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in labelling.image.modules())
    assert set(network.state_dict()) == names
    batch = collate([Sample.from_frame(make_frame(cameras=2), network.architecture)], network.architecture)
    with torch.inference_mode():
        expected, found = network(batch), labelling(batch)
    torch.testing.assert_close(found.image.logits, expected.image.logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.points.logits, expected.points.logits)


def test_no_batchnorm_is_left_over_the_images_of_the_network_that_ships(make_frame: Callable[..., Frame]) -> None:
    segmenter = Segmenter.load("town_small", SegmenterConfig(precision="float32"))
    layers = {name: list(each.image.modules()) for name, each in vars(segmenter).items() if isinstance(each, Network)}
    left = {name: sum(isinstance(layer, nn.BatchNorm2d) for layer in each) for name, each in layers.items()}
    assert left["network"] > 30 and left["labelling"] == 0
    network, labelling = segmenter.network, segmenter.labelling
    batch = collate([Sample.from_frame(make_frame(), network.architecture)], network.architecture)
    with torch.inference_mode():
        expected, found = network(batch), labelling(batch)
    assert expected.image.logits.std() > 1
    torch.testing.assert_close(found.image.logits, expected.image.logits, rtol=1e-4, atol=1e-3)
