"""The town's measures end to end, on drives of a few frames with a network that has learned nothing."""

import json
from pathlib import Path

import pytest
import torch
from small_network import TINY
from typer.testing import CliRunner

from sam_adapt_ros import cli
from sam_adapt_ros.benchmarks import adaptation, calibration, gate
from sam_adapt_ros.benchmarks.unseen_drives import Protocol
from sam_adapt_ros.cli.bench_town import parse_variant
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import ConfigError, OutputError
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.weights import Weights
from sam_adapt_ros.taxonomy import Taxonomy

PROTOCOL = Protocol(frames=4, unseen=2, unseen_frames=1)
QUICK = {
    "adaptation.buffer.min_distance": 0.1,
    "adaptation.rounds.min_frames": 1,
    "adaptation.rounds.min_held_out": 1,
    "adaptation.buffer.split_block": 1.0,
    "adaptation.buffer.split_gap": 0.0,
    "adaptation.buffer.held_out": 0.5,
    "adaptation.rounds.new_frames": 1,
    "adaptation.self_training.steps": 1,
    "adaptation.self_training.batch_size": 1,
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def small(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(adaptation, "ORACLE_FRAMES", 2)
    monkeypatch.setattr(adaptation, "ORACLE_STEPS", 1)


@pytest.fixture(scope="module")
def config(cache: Path) -> Config:
    torch.manual_seed(0)
    town = Taxonomy.load("town")
    steps = ({"step": "train", "frames": 2},)
    weights = Weights(Network(len(town), TINY).state_dict(), town.name, town.classes, TINY, steps)
    weights_files.save(cache / "tiny.safetensors", weights)
    return Config.load("town", {**QUICK, "segmenter.weights": str(cache / "tiny.safetensors")})


def measurement(config: Config, **changes) -> adaptation.Measurement:
    given = {"shifts": ["night"], "seeds": [110], "protocol": PROTOCOL, **changes}
    return adaptation.Measurement(config, {"adapted": config}, **given)


def test_what_is_measured_once_stays(
    config: Config, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = adaptation.measure(measurement(config), tmp_path)
    assert table.models == ["source", "normalization only", "oracle", "adapted"]
    assert {score.unseen for score in table.scores} == {11000, 11001}
    assert all(0 <= score.miou["fused_seen"] < 1 for score in table.scores)
    source, normalized = (table.row("night", name).miou["2d"].value for name in table.models[:2])
    assert source != normalized
    assert len(list(cache.rglob("oracles/*/*.safetensors"))) == 1
    found = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert found["settings"]["domains"] == adaptation.domains_hash()
    assert found["parts"][0]["facts"]["adapted"]["decisions"], "no round"
    assert "Domains " in (tmp_path / "table.md").read_text()

    monkeypatch.setattr(Segmenter, "__call__", lambda *_: pytest.fail("labelled again"))
    assert adaptation.measure(measurement(config), tmp_path).rows == table.rows
    other = config.updated({"adaptation.self_training.learning_rate": 0.1})
    with pytest.raises(OutputError, match="other settings"):
        adaptation.measure(measurement(other), tmp_path)


def test_references_are_scored_once_for_all_recipes(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = adaptation.measure(measurement(config, gate=False), tmp_path / "first")
    facts = json.loads((tmp_path / "first/results.json").read_text())["parts"][0]["facts"]["adapted"]
    assert 0 < facts["coverage"] <= 1 and 0 < facts["precision"] <= 1
    versions = []
    call = Segmenter.__call__

    def noted(self: Segmenter, frame):
        versions.append(self.version)
        return call(self, frame)

    monkeypatch.setattr(Segmenter, "__call__", noted)
    again = adaptation.measure(measurement(config, gate=False), tmp_path / "second")
    assert again.rows == first.rows  # the same drives, the same training
    assert versions.count("student") == 2
    assert len(versions) == 2 + 4  # the source labels what the buffer is offered, and no unseen frame


def test_a_student_of_the_true_labels_shows_what_the_drive_can_teach(config: Config, tmp_path: Path) -> None:
    table = adaptation.measure(measurement(config, gate=False, oracle=False, true_labels=True), tmp_path)
    assert table.models == ["source", "normalization only", "adapted", "true labels"]
    facts = json.loads((tmp_path / "results.json").read_text())["parts"][0]["facts"]
    assert facts["true labels"]["precision"] == 1
    assert facts["true labels"]["coverage"] == 1
    assert facts["adapted"]["precision"] < 1
    assert table.row("night", "true labels").miou["2d"].value != table.row("night", "adapted").miou["2d"].value


def test_every_candidate_of_the_gate_is_scored_with_labels(config: Config, tmp_path: Path) -> None:
    table = gate.bench_gate(config, tmp_path, ["night"], [60], PROTOCOL)
    names = {candidate.name for candidate in table.candidates}
    assert {"batchnorm", "start", "average 0.5", "average 0.5, 2d only"} <= names
    part = json.loads((tmp_path / "results.json").read_text())["parts"][0]
    for candidate in table.candidates:
        for key in gate.GAINS:
            scored = {name: sum(miou) / len(miou) for name, miou in part["miou"][key].items()}
            assert getattr(candidate, key) == pytest.approx(scored[candidate.name] - scored["source"])
        assert candidate.above_source["score"] == pytest.approx(
            candidate.numbers["score"] - part["decision"]["baselines"][1]["numbers"]["score"]
        )


def test_what_other_criteria_refuse_no_rule_promotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"fused_agreement": 0.9, "score": 0.8}

    def verdict(name: str, *refusals: str):
        return {"name": name, "numbers": numbers, "refusals": refusals, "sure_gain": 0.1}

    refused = {"inconsistent": ("consistency: too low",), "collapsed": ("consistency: too low", "collapse: one class")}
    decision = {
        "promoted": "good",
        "candidates": [verdict("good"), *(verdict(name, *words) for name, words in refused.items())],
        "baselines": [{"name": "source", "numbers": {"fused_agreement": 0.7, "score": 0.5}}],
    }
    miou = {"source": [0.5, 0.7], "good": [0.6, 0.8], "inconsistent": [0.6, 0.6], "collapsed": [0.1, 0.1]}
    miou_all = {name: [value / 2 for value in values] for name, values in miou.items()}
    part = {"shift": "night", "seed": 60, "decision": decision, "miou": {"gain": miou, "gain_all": miou_all}}
    monkeypatch.setattr(gate, "measure_all", lambda *_, **__: [part])
    found = {each.name: each for each in gate.bench_gate(Config.load("town"), tmp_path).candidates}
    assert [(each.promoted, each.refused) for each in found.values()] == [(True, False), (False, False), (False, True)]
    assert found["good"].gain == pytest.approx(0.1)
    assert found["good"].gain_all == pytest.approx(0.05)
    assert found["good"].above_source == pytest.approx({"fused_agreement": 0.2, "score": 0.3})


def test_rules_promote_by_what_they_measure() -> None:
    """Of two candidates the better one has the lower fused agreement; the third gains by the luck of a few frames."""

    def candidate(name: str, fused: float, score: float, sure: float, gain: float, **changes: bool):
        above = {"fused_agreement": fused, "score": score}
        return gate.Candidate("night", 60, name, **{"promoted": False, "refused": False, **changes}, sure_gain=sure,
                              numbers=above, above_source=above, gain=gain, gain_all=-gain)  # fmt: skip

    found = [
        candidate("good", 0.01, 0.05, 0.02, 0.04),
        candidate("the same, and better by chance", 0.01, 0.05, 0.02, 0.045),
        candidate("poor", 0.02, 0.01, 0.005, -0.01, promoted=True),
        candidate("lucky", 0.0, 0.06, -0.01, -0.03),
        candidate("collapsed", 0.5, 0.5, 0.5, -0.5, refused=True),
    ]
    table = gate.GateTable(found, Config.load("town"))
    gains = [row[2].split()[0] for row in table.promotions()]
    assert gains == ["-0.010", "-0.030", "+0.040", "-0.010", "+0.045"]  # fused; score; its bound; the gate; the truth
    assert [row[4] for row in table.promotions()] == ["1", "1", "0", "1", "0"]
    assert [row[5].split()[0] for row in table.promotions()] == ["+0.010", "+0.030", "-0.040", "+0.010", "-0.045"]
    best = table.kinds()[0]
    assert (best[0], best[2].split()[0]) == ("the same, and better by chance", "+0.045")
    nothing = gate.GateTable([candidate("worse", -0.1, -0.1, -0.1, -0.2)], Config.load("town"))
    assert {row[2].split()[0] for row in nothing.promotions()} == {"+0.000"}


def test_calibration_is_of_the_source_alone(config: Config, tmp_path: Path) -> None:
    (row,) = calibration.calibrate(config, tmp_path, ["night"], [110], PROTOCOL)
    assert 0.5 <= row.coverage.value < 1  # the median, at most 0.9: half of each class or more
    assert 0 < row.precision.value < 1
    assert row.loss["2d"].value == pytest.approx(row.oracle["2d"].value - row.source["2d"].value)
    text = (tmp_path / "table.md").read_text()
    assert "| night | " in text and "| nuScenes, USA -> Singapore | 0.682 | 0.796 | 0.114 |" in text
    stricter = config.updated({"pseudo_labels.selection.quantile": 0.9, "pseudo_labels.voting_cell": 0.5})
    assert calibration.calibrate(stricter, tmp_path / "other", ["night"], [110], PROTOCOL) == [row]


def test_figures_outside_of_what_is_wanted_are_marked() -> None:
    assert calibration.LOSS_FUSED.mark(0.05) == " (below)"
    assert calibration.LOSS_FUSED.mark(0.1) == ""
    assert calibration.COVERAGE.mark(0.9) == " (above)"


def test_unseen_drives_are_no_drive_that_is_learned_from() -> None:
    learned = {*range(60, 70), *range(110, 120)}
    unseen = [seed for each in learned for seed in Protocol().unseen_seeds(each)]
    assert len(set(unseen)) == 3 * len(learned)
    oracle = adaptation.oracle_recipe("night", Config.load("town")).seeds
    assert not {*unseen} & {*learned, *oracle}
    assert not learned & {*oracle}


def test_variants_are_the_first_recipe_with_other_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert parse_variant("no voting: pseudo_labels.voting_cell=0; masks.generator=sam") == (
        "no voting",
        ["pseudo_labels.voting_cell=0", "masks.generator=sam"],
    )
    for text in ("voting", ":a=1", "name:", "name: ;"):
        with pytest.raises(ConfigError, match="name:key=value;key=value expected"):
            parse_variant(text)
    given = []

    def noted(what: adaptation.Measurement, *_: object, **__: object) -> None:
        given.append(what)
        raise ConfigError("enough")

    monkeypatch.setattr(adaptation, "measure", noted)
    command = ["bench-recipes", "--recipes", "strict,direct", "-o", str(tmp_path / "out"), "--shifts", "night"]
    CliRunner().invoke(cli.app, [*command, "-v", "no voting:pseudo_labels.voting_cell=0", "--miscalibrated"])
    (what,) = given
    assert list(what.recipes) == ["strict", "direct", "no voting"]
    assert what.recipes["no voting"].pseudo_labels.voting_cell == 0
    assert what.recipes["no voting"].pseudo_labels.selection == what.recipes["strict"].pseudo_labels.selection
    assert what.shifts == ["night", "night+miscalibrated"]


def test_a_student_without_a_gate_takes_no_source_frames(tmp_path: Path) -> None:
    command = ["bench-recipes", "--recipes", "default", "-s", "adaptation.mode=with_source", "-o", str(tmp_path)]
    result = CliRunner().invoke(cli.app, command)
    assert isinstance(result.exception, ConfigError) and "--gate" in str(result.exception)
