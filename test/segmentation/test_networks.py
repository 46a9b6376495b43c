"""Networks of other packages: found by name, checked, named in the weights file, with one branch or both."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest
import torch
from example_network_support import architecture, example_network, weights_of  # noqa: F401
from learning_support import SHAPES
from small_network import TINY, make_frame
from torch import nn

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.errors import ConfigError, NetworkError, WeightsError
from sam_adapt_ros.segmentation import Segmenter, networks
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.batch import Sample, collate
from sam_adapt_ros.segmentation.heads import BranchOutput
from sam_adapt_ros.segmentation.logits import forward, infer
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.segmentation_network import NetworkOutput, SegmentationNetwork

OWN = TINY.model_copy(update={"network": "own"})


class OwnNetwork(SegmentationNetwork):
    """Its output can be replaced."""

    def __init__(self, classes, architecture, output=None):
        super().__init__(classes, architecture)
        self.image, self.points, self.output = nn.Linear(2, classes), nn.Linear(3, classes), output

    def forward(self, batch, precision=torch.float32):
        if self.output is not None:
            return self.output(batch)
        return NetworkOutput(BranchOutput(self.image(batch.uv)), BranchOutput(self.points(batch.points)))


@pytest.fixture
def register(monkeypatch):
    def register(*factories, name="own"):
        entries = []
        for place, factory in enumerate(factories):
            monkeypatch.setattr(networks, f"_factory{place}", factory, raising=False)
            entries.append(EntryPoint(name, f"{networks.__name__}:_factory{place}", networks.GROUP))
        monkeypatch.setattr(networks, "entry_points", lambda group: EntryPoints(entries))

    return register


def test_the_built_in_network_is_a_client_of_the_same_interface():
    network = networks.build(3, TINY)
    assert type(network) is Network and isinstance(network, SegmentationNetwork)
    assert TINY.network == "xmuda"
    assert network.branches == (Branch.IMAGE, Branch.POINTS)


@pytest.mark.parametrize("name", ["example", "faulty"])
def test_an_installed_package_registers_networks(example_network, name):  # noqa: F811
    network = networks.build(3, architecture(name))
    assert type(network).__module__.startswith("example_network.")


def test_the_weights_file_names_the_network(example_network, tmp_path):  # noqa: F811
    torch.manual_seed(1)
    network = networks.build(3, architecture())
    saved = weights_files.save(tmp_path / "own.safetensors", weights_of(network))
    loaded = weights_files.load(tmp_path / "own.safetensors")
    assert loaded.version == saved.version
    assert (loaded.architecture.network, loaded.architecture.options) == ("example", {"branches": ["image", "points"]})
    segmenter = Segmenter.load(tmp_path / "own.safetensors", taxonomy=SHAPES)
    assert type(segmenter.network) is type(network)
    again = Segmenter(network, SHAPES)(make_frame(1))
    np.testing.assert_array_equal(segmenter(make_frame(1)).fused, again.fused)


def test_files_from_before_there_was_a_choice_are_of_the_built_in_network(tmp_path):
    network = Network(3, TINY)
    old = TINY.model_dump(exclude={"network", "options"})
    assert type(TINY).model_validate(old) == network.architecture


def test_a_network_that_is_not_installed_is_named_with_what_is(register, tmp_path):
    register(OwnNetwork)
    weights_files.save(tmp_path / "own.safetensors", weights_of(networks.build(3, OWN)))
    register(OwnNetwork, name="other")
    with pytest.raises(WeightsError, match=r"own\.safetensors: .*no network 'own' .*there are other, xmuda.*install"):
        Segmenter.load(tmp_path / "own.safetensors", taxonomy=SHAPES)


def test_a_name_that_two_packages_register_is_ambiguous(register):
    register(OwnNetwork, OwnNetwork)
    with pytest.raises(ConfigError, match=r"own: registered by several packages: .*_factory0.*_factory1"):
        networks.build(3, OWN)


def other_classes(classes, architecture):
    return OwnNetwork(classes + 1, architecture)


def shared_layer(classes, architecture):
    network = OwnNetwork(classes, architecture)
    network.trunk = nn.Linear(2, 2)
    return network


def no_branch(classes, architecture):
    network = OwnNetwork(classes, architecture)
    network.branches = ()
    return network


def wrong_classifier(classes, architecture):
    network = OwnNetwork(classes, architecture)
    network.classifiers = {Branch.IMAGE: "image.head"}
    return network


def half_named(classes, architecture):
    network = OwnNetwork(classes, architecture)
    network.branches = (Branch.POINTS,)
    return network


def raises(classes, architecture):
    raise KeyError("width")


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        (lambda classes, architecture: nn.Linear(1, 1), "a SegmentationNetwork expected, got Linear"),
        (other_classes, "classes and architecture"),
        (shared_layer, r"trunk\.weight: names of tensors that begin with image\. or points\. expected"),
        (no_branch, r"branches: some of .* expected, got \(\)"),
        (wrong_classifier, r"classifiers: IMAGE: .* got image\.head"),
        (half_named, r"image\.weight: names of tensors that begin with points\. expected"),
        (raises, "cannot be built: KeyError: 'width'"),
    ],
)
def test_what_breaks_the_rules_is_refused(register, factory, said):
    register(factory)
    with pytest.raises(ConfigError, match=rf"architecture\.network: own: {said}"):
        networks.build(3, OWN)


def test_a_package_that_cannot_be_imported_is_named(monkeypatch):
    entries = EntryPoints([EntryPoint("own", "no_such_package:Network", networks.GROUP)])
    monkeypatch.setattr(networks, "entry_points", lambda group: entries)
    with pytest.raises(ConfigError, match=r"own: no_such_package:Network cannot be imported: ModuleNotFoundError"):
        networks.build(3, OWN)


def raise_key_error(*_):
    raise KeyError("engine")


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("configure", raise_key_error, "configure: KeyError: 'engine'"),
        ("prepare_for_inference", raise_key_error, "prepare_for_inference: KeyError: 'engine'"),
        ("prepare_for_inference", lambda *_: None, "prepare_for_inference: a network expected, got NoneType"),
    ],
)
def test_a_network_that_cannot_be_prepared_is_named(monkeypatch, method, given, said):
    """Not a traceback: new weights of it are refused like others, and the ones in use stay."""
    monkeypatch.setattr(OwnNetwork, method, given)
    with pytest.raises(ConfigError, match=rf"architecture\.network: own: {said}"):
        Segmenter(OwnNetwork(3, OWN), SHAPES)


# Output ---------------------------------------------------------------------------------------------------------------


def batch_of(frame):
    return collate([Sample.from_frame(frame, TINY)], TINY)


def raise_value_error(batch):
    raise ValueError("no such street")


@pytest.mark.parametrize(
    ("output", "reason", "said"),
    [
        (raise_value_error, "network_failed", "network own: ValueError: no such street"),
        (lambda batch: None, "network_shape", r"image: logits of shape \(\d+, 3\) expected, got None"),
        (lambda batch: NetworkOutput(None, BranchOutput(batch.points)), "network_shape", "image: .* got None"),
        (
            lambda batch: NetworkOutput(BranchOutput(batch.uv), BranchOutput(batch.points)),
            "network_shape",
            r"image: logits of shape \(\d+, 3\) expected, got \(\d+, 2\)",
        ),
        (
            lambda batch: NetworkOutput(BranchOutput(batch.points[batch.seen]), BranchOutput(batch.points[1:])),
            "network_shape",
            r"points: logits of shape \(1500, 3\) expected, got \(1499, 3\)",
        ),
    ],
)
def test_an_output_of_another_kind_is_an_error(output, reason, said):
    network, batch = OwnNetwork(3, OWN, output), batch_of(make_frame())
    for run in (forward, infer):
        with pytest.raises(NetworkError, match=said) as caught:
            run(network, batch)
        assert caught.value.reason == reason
    with pytest.raises(NetworkError):
        Segmenter(network, SHAPES)(make_frame())


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("branch", ["image", "points"])
def test_logits_that_are_not_finite_are_an_error_of_the_frame(number, branch):
    def output(batch):
        logits = {"image": batch.points[batch.seen].clone(), "points": batch.points.clone()}
        logits[branch][5, 1] = number
        return NetworkOutput(**{name: BranchOutput(each) for name, each in logits.items()})

    with pytest.raises(NetworkError, match="network own: logits are not finite") as caught:
        Segmenter(OwnNetwork(3, OWN, output), SHAPES)(make_frame())
    assert caught.value.reason == "network_not_finite"


def test_without_points_the_network_is_not_asked():
    prediction = Segmenter(OwnNetwork(3, OWN, raise_value_error), SHAPES)(make_frame(points=0))
    assert prediction.fused.shape == (0, 3)


# One branch -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", ["product", "mean"])
def test_a_network_of_points_alone(example_network, fusion):  # noqa: F811
    network = networks.build(3, architecture(branches=["points"])).eval()
    segmenter = Segmenter(network, SHAPES)
    frame = make_frame(2)
    prediction = segmenter(frame)
    labels = prediction.by_branch()
    assert (prediction.labels != 255).all()
    np.testing.assert_array_equal(labels[Branch.POINTS], prediction.labels)
    np.testing.assert_array_equal(prediction.fused, prediction.points)
    assert (labels[Branch.IMAGE] == 255).all() and not prediction.seen.any()


@pytest.mark.parametrize("fusion", ["product", "mean"])
def test_a_network_of_images_alone(example_network, fusion):  # noqa: F811
    both = networks.build(3, architecture()).eval()
    network = networks.build(3, architecture(branches=["image"])).eval()
    network.load_state_dict({name: t for name, t in both.state_dict().items() if name.startswith("image.")})
    frame = make_frame(2)
    prediction, reference = Segmenter(network, SHAPES)(frame), Segmenter(both, SHAPES)(frame)
    seen = reference.seen
    assert 0 < seen.sum() < len(seen)
    np.testing.assert_array_equal(prediction.seen, seen)
    np.testing.assert_array_equal(prediction.fused[seen], reference.image[seen])
    assert not prediction.fused[~seen].any() and not prediction.points.any()
    assert (prediction.labels[~seen] == 255).all() and (prediction.labels[seen] != 255).all()
    labels = prediction.by_branch()
    assert (labels[Branch.POINTS] == 255).all()
    np.testing.assert_array_equal(labels[Branch.IMAGE], prediction.labels)
    nothing = Segmenter(network, SHAPES)(make_frame(cameras=0))
    assert (nothing.labels == 255).all() and (nothing.probability == 0).all()
