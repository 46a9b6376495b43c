import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_support import make_frame, source_network, to_samples
from small_network import TINY

from sam_adapt_ros.adaptation import batchnorm
from sam_adapt_ros.adaptation.batchnorm import Moments, batchnorm_layers, measure_moments, reestimate_batchnorm
from sam_adapt_ros.config import BatchNormConfig
from sam_adapt_ros.segmentation.batch import collate
from sam_adapt_ros.segmentation.network import Network


def slow_statistics(network: Network, batches: list) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By definition: every value that a layer meets, kept; each batch normalized by its own statistics below."""
    network = copy.deepcopy(network).eval()
    kept: dict[str, list[np.ndarray]] = {}
    for name, layer in batchnorm_layers(network):
        kept[name] = []

        def normalize(module, inputs, name=name):
            x = inputs[0]
            axes = [axis for axis in range(x.ndim) if axis != 1]
            kept[name].append(np.moveaxis(x.detach().double().numpy(), 1, -1).reshape(-1, x.shape[1]))
            module.running_mean.copy_(x.mean(axes))
            module.running_var.copy_(x.var(axes, unbiased=False))

        layer.register_forward_pre_hook(normalize)
    with torch.no_grad():
        for batch in batches:
            network(batch)
    values = {name: np.concatenate(parts) for name, parts in kept.items()}
    return {name: (rows.mean(0), rows.var(0, ddof=1)) for name, rows in values.items()}


@pytest.fixture(scope="module")
def frames() -> list:
    return [make_frame(seed, points=400 + 300 * seed, dusk=True) for seed in range(5)]


def test_statistics_are_those_of_all_values_that_a_layer_meets(frames: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batchnorm, "BATCH_SIZE", 2)
    samples, network = to_samples(frames), source_network()
    config = BatchNormConfig(target_weight_2d=1.0, target_weight_3d=0.25)
    expected = slow_statistics(network, [collate(samples[i : i + 2], TINY) for i in (0, 2, 4)])
    before, after = network.state_dict(), reestimate_batchnorm(network, samples, config)
    assert len(expected) > 10
    for name, statistics in expected.items():
        share = config.target_weight_2d if name.startswith("image.") else config.target_weight_3d
        for kind, value in zip(("running_mean", "running_var"), statistics, strict=True):
            own = before[f"{name}.{kind}"].double().numpy()
            np.testing.assert_allclose(
                after[f"{name}.{kind}"].numpy(), (1 - share) * own + share * value, rtol=2e-4, atol=1e-5, err_msg=name
            )


def test_shares_are_of_the_way_from_the_origin(frames: list) -> None:
    """However often statistics have been moved already."""
    samples, network = to_samples(frames), source_network()
    config = BatchNormConfig(target_weight_2d=0.0, target_weight_3d=0.25)
    once = reestimate_batchnorm(network, samples, config)
    moved = copy.deepcopy(network)
    moved.load_state_dict(once)
    again = reestimate_batchnorm(moved, samples, config, source=network.state_dict())
    further = reestimate_batchnorm(moved, samples, config)
    for name in (f"{layer}.running_mean" for layer, _ in batchnorm_layers(network)):
        torch.testing.assert_close(again[name], once[name])
        assert torch.equal(further[name], once[name]) == name.startswith("image."), name


def test_nothing_else_changes(frames: list) -> None:
    network = source_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    after = reestimate_batchnorm(network, to_samples(frames), BatchNormConfig(target_weight_3d=0.0))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name  # the network itself is left alone
        moved = name.startswith("image.") and name.endswith(("running_mean", "running_var"))
        assert torch.equal(after[name], tensor) != moved, name


def test_a_branch_that_sees_nothing_keeps_its_own(frames: list) -> None:
    blind = [type(frame)(frame.stamp_ns, "lidar", frame.points) for frame in frames]
    after = reestimate_batchnorm(source_network(), to_samples(blind), BatchNormConfig())
    for name, tensor in source_network().state_dict().items():
        if name.startswith("image."):
            assert torch.equal(after[name], tensor), name
    same = reestimate_batchnorm(source_network(), [], BatchNormConfig())
    assert all(torch.equal(same[name], tensor) for name, tensor in source_network().state_dict().items())


def test_a_layer_without_values_has_no_moments() -> None:
    empty = to_samples([make_frame(0)])[0].only(np.zeros(800, bool))
    assert not measure_moments(source_network(), [collate([empty], TINY)])


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6), seed=st.integers(0, 99), offset=st.floats(-50, 50))
def test_moments_of_parts_are_those_of_the_whole(sizes: list[int], seed: int, offset: float) -> None:
    values = torch.from_numpy(np.random.default_rng(seed).normal(offset, 2, (sum(sizes), 3)))
    pooled = None
    for part in values.split(sizes):
        moments = Moments.of(part)
        pooled = moments if pooled is None else pooled.pooled(moments)
    assert pooled.count == len(values)
    torch.testing.assert_close(pooled.mean, values.mean(0))
    torch.testing.assert_close(pooled.variance, values.var(0, unbiased=False))
