from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional

from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation.batch import Sample, collate
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.training import losses

MakeFrame = Callable[..., Frame]


@pytest.fixture(scope="module")
def frames(make_frame: MakeFrame) -> list[Frame]:
    return [make_frame(seed, points=600) for seed in range(6)]


def test_losses_touch_the_heads_that_they_are_for(network: Network, frames: list[Frame]) -> None:
    batch = collate([Sample.from_frame(frames[0], network.architecture)], network.architecture)
    heads = {
        "ce_2d": "image.heads.classify",
        "ce_3d": "points.heads.classify",
        "xm_2d": "image.heads.imitate",
        "xm_3d": "points.heads.imitate",
    }
    for name, head in heads.items():
        network.zero_grad(set_to_none=True)
        losses.xmuda_losses(network(batch), batch, None, 1.0)[name].backward()
        with_gradient = {key for key, p in network.named_parameters() if p.grad is not None and p.grad.any()}
        assert {key for key in with_gradient if ".heads." in key} == {f"{head}.weight", f"{head}.bias"}
        assert {key.split(".")[0] for key in with_gradient} == {head.split(".")[0]}


def test_losses_match_their_formulas() -> None:
    logits, other = torch.randn(5, 3), torch.randn(5, 3)
    q, p = logits.softmax(1), other.softmax(1)
    torch.testing.assert_close(losses.cross_modal(logits, other), (p * (p / q).log()).sum(1).mean())
    labels = torch.tensor([0, 255, 2, 1, 255])
    expected = functional.cross_entropy(logits[labels < 255], labels[labels < 255])
    torch.testing.assert_close(losses.cross_entropy(logits, labels), expected)
    assert losses.cross_entropy(logits, torch.full((5,), 255)) == 0
    assert losses.cross_entropy(logits[:0], labels[:0]) == 0 and losses.cross_modal(logits[:0], other[:0]) == 0
    weights = losses.class_weights(np.array([900, 90, 10, 0]))
    raw = np.log(5 * 1001 / np.array([900, 90, 10, 1]))
    np.testing.assert_allclose(weights, raw / raw.min(), rtol=1e-5)
