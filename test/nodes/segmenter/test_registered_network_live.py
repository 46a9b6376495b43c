"""A network of another package in the segmenter node: it labels, is exchanged, and may fail on single frames."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from example_network_support import example_network  # noqa: F401
from node_support import ARCHITECTURE, Rig, until
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from weights_support import ManagedSlot, promote, varied

from sam_adapt_ros.adaptation import WeightStore
from sam_adapt_ros.messages import read_labels
from sam_adapt_ros.segmentation import networks
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.taxonomy import Taxonomy


def save(path: Path, seed: int) -> Path:
    classes = Taxonomy.load("town").classes
    architecture = ARCHITECTURE.model_copy(update={"network": "faulty"})
    torch.manual_seed(seed)
    state = networks.build(len(classes), architecture).state_dict()
    weights_files.save(path, weights_files.Weights(state, "town", classes, architecture))
    return path


@pytest.fixture(scope="module")
def weights(example_network, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    return save(tmp_path_factory.mktemp("registered") / "first.safetensors", 0)


def test_it_labels_and_frames_that_it_fails_on_are_dropped_with_the_reason(rig: Rig) -> None:
    from example_network.faulty import NOT_FINITE, RAISES, SHAPE

    markers = {"network_failed": RAISES, "network_shape": SHAPE, "network_not_finite": NOT_FINITE}
    for reason, marker in markers.items():
        _, labels, _ = read_labels(rig.ask())
        assert (labels < 255).all()
        points = rig.points.copy()
        points[0, 2] = marker
        rig.send(rig.tick(), points=points)
        until(lambda reason=reason: rig.dropped(reason) == 1, 20.0, reason)
    _, labels, _ = read_labels(rig.ask())
    assert len(np.unique(labels)) > 1
    report = rig.report()
    assert report["dropped"] == dict.fromkeys(markers, 1)
    assert report["frames_in"] == report["frames_labelled"] + 3


def test_the_stores_version_takes_over_and_may_be_rolled_back(weights: Path, tmp_path: Path) -> None:
    store = WeightStore(tmp_path / "store")
    store.initialize(weights)
    managed = ManagedSlot(weights, tmp_path / "store")
    try:
        assert managed.label(2) == [""] * 2  # segmenter.weights, which is the source
        version = promote(store, varied(weights, 1))
        managed.settle()
        assert managed.label(2) == [version.name] * 2
        store.rollback("requested")
        managed.settle()
        assert managed.label(2) == [store.source().name] * 2
        assert managed.slot.swaps == 2
    finally:
        managed.slot.close()


def test_it_is_exchanged_between_two_frames(rig: Rig, tmp_path: Path) -> None:
    before = rig.report()
    path = ParameterValue(
        type=ParameterType.PARAMETER_STRING, string_value=str(save(tmp_path / "second.safetensors", 1))
    )
    request = SetParameters.Request(parameters=[Parameter(name="segmenter.weights", value=path)])
    assert rig.call(SetParameters, "/segmenter/set_parameters", request).results[0].successful
    deadline = time.monotonic() + 30
    while rig.report()["version"] == before["version"]:
        assert time.monotonic() < deadline
        rig.ask()
    after = rig.report()
    assert after["swaps"] == before["swaps"] + 1
    assert after.get("dropped", {}) == before.get("dropped", {})
