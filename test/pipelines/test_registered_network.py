"""A network of another package goes through replay, adaptation and the gate; with one branch, too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from example_network_support import example_network, example_weights  # noqa: F401
from learning_support import SHAPES, drive, learning_config

from sam_adapt_ros.adaptation import Record, WeightStore
from sam_adapt_ros.bags import Counts
from sam_adapt_ros.benchmarks.learning_latency import LENIENT_GATE
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.pipelines import bag_frames
from sam_adapt_ros.pipelines.adaptive_replay import OnlineRun, replay_adapting
from sam_adapt_ros.pipelines.replay import replay
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.segmentation import weights as weights_files

BRANCHES = [("image", "points"), ("points",), ("image",)]


def use_frames(monkeypatch, frames):
    class Reader:
        def __init__(self, path, config, **_):
            self.sweeps, self.counts, self.notices = len(frames), Counts(), Notices()

        def __enter__(self):
            return self

        def __exit__(self, *_): ...

        def frames(self):
            yield from frames

    monkeypatch.setattr(bag_frames, "BagReader", Reader)


def config_of(folder: Path, weights, **changes) -> Config:
    taxonomy = {"name": "shapes", "classes": [{"name": name, "color": [9, 9, 9]} for name in SHAPES.classes]}
    (folder / "shapes.yaml").write_text(yaml.safe_dump(taxonomy))
    weights_files.save(folder / "source.safetensors", weights)
    given = {
        "taxonomy": str(folder / "shapes.yaml"),
        "segmenter.weights": str(folder / "source.safetensors"),
        "masks.generator": "regions",
        "adaptation.rounds.new_frames": 4,
    }
    return Config.from_flat({**learning_config(**{"self_training.steps": 6}).to_flat(), **given, **changes})


@pytest.fixture(scope="module", params=BRANCHES, ids="+".join)
def weights(request, example_network):  # noqa: F811
    return example_weights(request.param)


def test_replay_labels_and_reports(weights, tmp_path, monkeypatch):
    frames = drive(4, seed=30)
    use_frames(monkeypatch, frames)
    replay(Path("drive"), config_of(tmp_path, weights), tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert facts["frames_labelled"] == 4 and facts["dropped"] == {}
    branches = weights.architecture.options["branches"]
    assert facts["miou"]["fused"] > 0.5
    assert (facts["miou"]["2d"] is not None) == ("image" in branches)
    assert (facts["miou"]["3d"] is not None) == ("points" in branches)
    assert (tmp_path / "run" / "report.html").exists()
    assert facts["network"] == "example"
    assert ("no_point_branch" in facts["notices"]) == ("points" not in branches)


def test_it_learns_and_the_gate_decides(weights, tmp_path, monkeypatch):
    branches = weights.architecture.options["branches"]
    use_frames(monkeypatch, drive(16, dusk="points" in branches))  # images alone show one class at dusk
    replay_adapting(Path("dusk"), config_of(tmp_path, weights, **LENIENT_GATE), tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "summary.json").read_text())
    decisions = facts["adaptation"]["decisions"]
    names = {candidate["name"] for decision in decisions for candidate in decision["candidates"]}
    both = len(branches) == 2
    assert "average 0.5" in names and ("average 0.5, 2d only" in names) == both
    student = next(each for each in decisions[0]["candidates"] if each["name"] == "average 0.5")
    assert student["numbers"]["score"] > 0.3
    assert ("branch_kappa" in student["numbers"]) == both
    assert facts["adaptation"]["promotions"] >= 1
    store = WeightStore(tmp_path / "run" / "store")
    promoted = Segmenter.load(store.current().path, taxonomy=SHAPES)
    assert promoted.network.architecture == weights.architecture
    assert promoted.version != Segmenter.load(store.source().path, taxonomy=SHAPES).version


def test_all_criteria_judge_it(weights, tmp_path):
    """None of them refuses a network for the branch that it lacks: the source's own weights pass."""
    run = OnlineRun(config_of(tmp_path, weights, **{"adaptation.self_training.steps": 0}), tmp_path / "store")
    for frame in drive(14):
        run.label(frame)
    run.learn(at_end=True)
    (decision,) = run.decisions
    refusals = [text for verdict in decision.verdicts if verdict.name == "start" for text in verdict.refusals]
    assert not [text for text in refusals if "branch" in text or "2D" in text or "3d" in text or "2d" in text]


def test_a_selection_by_a_branch_that_it_lacks_is_refused(example_network, tmp_path):  # noqa: F811
    config = config_of(tmp_path, example_weights(["points"]), **{"pseudo_labels.selection.branch": "2d"})
    with pytest.raises(ConfigError, match=r"pseudo_labels\.selection\.branch: the network example has no 2d branch"):
        OnlineRun(config, tmp_path / "store")


def marked(frame, marker: float):
    points = frame.points.copy()
    points[0, 2] = marker
    return replace(frame, points=points)


def test_frames_that_a_network_fails_on_are_dropped_and_the_stream_goes_on(
    example_network,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    from example_network.faulty import NOT_FINITE, RAISES, SHAPE

    frames = drive(8, seed=30)
    for place, marker in ((1, RAISES), (3, SHAPE), (4, NOT_FINITE), (6, RAISES)):
        frames[place] = marked(frames[place], marker)
    use_frames(monkeypatch, frames)
    config = config_of(tmp_path, example_weights(name="faulty"))
    dropped = {"network_failed": 2, "network_shape": 1, "network_not_finite": 1}
    for name, run in (("plain", replay), ("adapting", replay_adapting)):
        summary = run(Path("drive"), config, tmp_path / name)
        facts = json.loads((tmp_path / name / "summary.json").read_text())
        assert facts["dropped"] == dropped == dict(summary.dropped)
        assert (facts["frames_in"], facts["frames_labelled"]) == (8, 4)
        said = facts["notices"]["network_failed"]
        assert "network faulty: ValueError: no such street" in said and "2 sweeps were dropped" in said


def test_weights_whose_logits_are_not_finite_are_rolled_back(example_network, tmp_path):  # noqa: F811
    from example_network.faulty import NOT_FINITE, RAISES

    from sam_adapt_ros.errors import NetworkError

    run = OnlineRun(config_of(tmp_path, example_weights(name="faulty")), tmp_path / "store")
    store, source = run.adapter.store, weights_files.load(run.adapter.store.source().path)
    state = {name: tensor * 1.01 for name, tensor in source.state.items()}
    store.promote(store.add(replace(source, state=state), Record()))
    run._use(store.current())
    frames = drive(3, seed=30)
    run.label(frames[0])
    with pytest.raises(NetworkError):
        run.label(marked(frames[1], RAISES))
    assert store.current() != store.source()  # a fault of the network's code, not of the weights
    with pytest.raises(NetworkError):
        run.label(marked(frames[1], NOT_FINITE))
    assert store.current() == store.source()
    assert "not finite" in store.pointer().reason
    np.testing.assert_array_equal(run.label(frames[2]).labels, run.source(frames[2]).labels)


def test_a_network_without_batchnorm_cannot_be_trained_by_it_alone(example_network, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("sam_adapt_ros.adaptation.round.batchnorm_layers", lambda network: iter(()))
    config = config_of(tmp_path, example_weights(["points"]), **{"adaptation.self_training.parameters": "affine"})
    with pytest.raises(ConfigError, match=r"self_training\.parameters: affine: the network example has no BatchNorm"):
        OnlineRun(config, tmp_path / "store")
