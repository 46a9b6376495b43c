from collections.abc import Callable

import pytest
import torch

from sam_adapt_ros.cancellation import CancellationToken, Cancelled
from sam_adapt_ros.config import SegmenterConfig
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation.batch import Sample, collate
from sam_adapt_ros.segmentation.fusion import FUSIONS, fuse
from sam_adapt_ros.segmentation.logits import compute_logits
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.segmenter import Segmenter

MakeFrame = Callable[..., Frame]


@pytest.fixture
def samples(network: Network, make_frame: MakeFrame) -> list[Sample]:
    return [Sample.from_frame(make_frame(seed, cameras=seed), network.architecture) for seed in (0, 1, 2)]


def test_logits_are_the_network_s_in_evaluation_mode(network: Network, samples: list[Sample]) -> None:
    network.train()
    for sample, found in zip(samples, compute_logits(network, samples), strict=True):
        assert not network.training
        batch = collate([sample], network.architecture)
        with torch.inference_mode():
            output = network(batch)
        assert found.image.equal(output.image.logits) and found.points.equal(output.points.logits)
        assert found.seen.tolist() == (sample.camera >= 0).nonzero()[0].tolist()


def test_fused_logits_are_the_segmenter_s_probabilities(network: Network, make_frame: MakeFrame, shapes) -> None:
    frame = make_frame(cameras=2)
    segmenter = Segmenter(network, shapes, SegmenterConfig(precision="float32"))
    (logits,) = compute_logits(network, [Sample.from_frame(frame, network.architecture)])
    torch.testing.assert_close(fuse(FUSIONS["product"], logits), torch.from_numpy(segmenter(frame).fused))


def test_half_precision_rounds_and_halves(network: Network, samples: list[Sample]) -> None:
    whole, half = (compute_logits(network, samples, dtype) for dtype in (torch.float32, torch.float16))
    for frame, rounded in zip(whole, half, strict=True):
        assert rounded.image.equal(frame.image.half()) and rounded.points.equal(frame.points.half())


def test_no_frame_is_computed_once_cancelled(network: Network, samples: list[Sample]) -> None:
    token = CancellationToken()
    taken = []

    def cancel_at_the_second():
        for sample in samples:
            taken.append(sample)
            if len(taken) == 2:
                token.cancel()
            yield sample

    with pytest.raises(Cancelled):
        compute_logits(network, cancel_at_the_second(), token=token)
    assert len(taken) == 2
