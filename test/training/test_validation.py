from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.fusion import FUSIONS
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.training import validation
from sam_adapt_ros.training.ranks import Ranks

MakeFrame = Callable[..., Frame]


class _OneOf(Ranks):
    def __init__(self, rank: int, size: int) -> None:
        super().__init__()
        self.rank, self.size = rank, size


@pytest.fixture(scope="module")
def samples(tiny: ArchitectureConfig, make_frame: MakeFrame) -> list[Sample]:
    return [Sample.from_frame(make_frame(seed, points=200), tiny) for seed in range(5)]


def test_parts_of_the_frames_add_up(network: Network, samples: list[Sample]) -> None:
    whole = validation.measure(network, samples, FUSIONS["mean"])
    parts = [validation.measure(network, samples, FUSIONS["mean"], ranks=_OneOf(rank, 2)) for rank in (0, 1)]
    for branch in Branch:
        np.testing.assert_array_equal(parts[0][branch].counts + parts[1][branch].counts, whole[branch].counts)
        assert parts[0][branch].points and parts[1][branch].points


def test_scales_are_fitted_to_a_bounded_number_of_frames(
    network: Network, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "SCALE_FRAMES", 3)
    fitted: list[Any] = []
    own_fit = validation.fit_scales

    def fit(logits: Any, labels: Any) -> Any:
        fitted.extend(labels)
        return own_fit(logits, labels)

    monkeypatch.setattr(validation, "fit_scales", fit)
    found = validation.validate(network, samples, FUSIONS["product"])
    assert [labels.tolist() for labels in fitted] == [samples[place].labels.tolist() for place in (0, 2, 4)]
    assert found.miou["3d"] == validation.measure(network, samples, FUSIONS["product"])[Branch.POINTS].miou()
