import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from learning_support import SHAPES, drive, learning_config, make_frame, online_run, source_weights

from sam_adapt_ros import resources
from sam_adapt_ros.adaptation import Record
from sam_adapt_ros.adaptation.adapter import Adapter
from sam_adapt_ros.adaptation.promotion.gate import Decision
from sam_adapt_ros.bags import Counts
from sam_adapt_ros.cancellation import CancellationToken
from sam_adapt_ros.config import Config, load_recipe
from sam_adapt_ros.errors import ConfigError, NetworkError
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.pipelines import adaptive_replay, bag_frames
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.network import Network

DUSK = drive(16, dusk=True)


class FakeReader:
    def __init__(self, path: Path, config: Config, **_: object) -> None:
        self.sweeps = len(DUSK)
        self.counts = Counts()
        self.notices = Notices()

    def __enter__(self) -> "FakeReader":
        return self

    def __exit__(self, *_: object) -> None: ...

    def frames(self) -> Iterator[Frame]:
        yield from DUSK


@pytest.fixture
def config(tmp_path: Path) -> Config:
    taxonomy = {"name": "shapes", "classes": [{"name": name, "color": [9, 9, 9]} for name in SHAPES.classes]}
    (tmp_path / "shapes.yaml").write_text(yaml.safe_dump(taxonomy))
    weights_files.save(tmp_path / "source.safetensors", source_weights())
    values = learning_config(**{"self_training.steps": 4}).to_flat()
    given = {
        "taxonomy": str(tmp_path / "shapes.yaml"),
        "segmenter.weights": str(tmp_path / "source.safetensors"),
        "masks.generator": "regions",
        "adaptation.rounds.new_frames": 4,
    }
    return Config.from_flat({**values, **given})


def test_a_bag_is_labelled_learned_from_and_reported(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bag_frames, "BagReader", FakeReader)
    output = tmp_path / "run"
    adaptive_replay.replay_adapting(Path("dusk"), config, output, passes=2)
    facts = json.loads((output / "summary.json").read_text())
    learned = facts["adaptation"]
    assert facts["frames_labelled"] == len(DUSK)  # of the last pass
    assert learned["promotions"] + learned["rejections"] == len(learned["decisions"]) >= 1
    assert 0 < learned["miou_source"] <= 1
    assert learned["decisions"][0]["labels"]["coverage"] > 0
    html = (output / "report.html").read_text()
    for part in ("Adaptation", "Gate log", "Before and after", "batchnorm"):
        assert part in html
    adaptive_replay.replay_adapting(Path("dusk"), config, output, force=True)  # again: the old store is moved aside
    assert (output / "store.1").is_dir()


def test_a_short_clip_is_learned_from_before_its_second_pass(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bag_frames, "BagReader", FakeReader)
    monkeypatch.setattr(f"{__name__}.DUSK", [make_frame(100 + i, dusk=True, at=0.6 * i) for i in range(8)])
    adaptive_replay.replay_adapting(Path("clip"), config, tmp_path / "run", passes=2)
    facts = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert facts["adaptation"]["decisions"][0]["cause"] == "end"
    assert "which blocks of 2.5 m are held out" in facts["notices"]["short_drive"]
    html = (tmp_path / "run" / "report.html").read_text()
    assert "which blocks of 2.5 m are held out" in html


def test_a_clip_that_offers_too_little_says_what_is_missing(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bag_frames, "BagReader", FakeReader)
    monkeypatch.setattr(f"{__name__}.DUSK", [make_frame(100, dusk=True)] * 5)
    adaptive_replay.replay_adapting(Path("clip"), config, tmp_path / "run")
    said = json.loads((tmp_path / "run" / "summary.json").read_text())["notices"]["nothing_learned"]
    assert "1 frame kept of 5 seen, 3 needed for training (there are 1) and 2 held out" in said
    assert "4 standing (less than buffer.min_distance driven, and nothing new to be seen)" in said
    html = (tmp_path / "run" / "report.html").read_text()
    assert "<p>Nothing was learned, the source model labelled every frame: no round ended: 1 frame kept of 5" in html
    assert "label these frames as the source model does" in html


def test_frames_are_labelled_before_they_are_learned_from(config: Config, tmp_path: Path) -> None:
    run = adaptive_replay.OnlineRun(config, tmp_path / "store")
    first = run.label(DUSK[0])
    np.testing.assert_array_equal(first.labels, run.source(DUSK[0]).labels)
    versions = set()
    for frame in DUSK[1:]:
        run.label(frame)
        versions.add(run.segmenter.version)
        run.learn()
    assert run.timeline.events[0].frame > config.adaptation.rounds.min_frames
    if run.timeline.events[0].promoted:
        assert run.segmenter.version not in {run.source.version}


def test_weights_that_fall_are_rolled_back_as_the_segmenter_node_does(config: Config, tmp_path: Path) -> None:
    run = adaptive_replay.OnlineRun(config, tmp_path / "store")
    for frame in drive(10, seed=40):
        run.label(frame)
    store, source = run.adapter.store, run.source.version
    state = {name: tensor.clone() for name, tensor in source_weights().state.items()}
    for branch in ("image", "points"):
        state[f"{branch}.heads.classify.bias"][1] += 50.0  # one class everywhere
    store.promote(store.add(replace(source_weights(), state=state), Record()))
    run._use(store.current())
    run.adapter.request_round()
    fallen = 0
    while run.segmenter.version != source:
        run.label(drive(1, seed=60 + fallen, start=10 + fallen)[0])
        fallen += 1
        assert fallen < 20
    assert store.current() == store.source()
    assert store.pointer().reason.startswith("segmenter: ")
    assert run.timeline.as_dict()["rollbacks"] == 1
    (event,) = run.timeline.events
    assert event.outcome == "rolled back" and event.frame == 10 + fallen
    assert run.adapter.schedule.kept == 0  # what was learned from these frames was no good: only new ones count
    np.testing.assert_array_equal(run.label(DUSK[0]).labels, run.source(DUSK[0]).labels)


def test_a_failure_of_the_source_is_not_charged_to_the_weights_in_use(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = adaptive_replay.OnlineRun(config, tmp_path / "store")
    state = {name: tensor + 1e-3 for name, tensor in source_weights().state.items() if tensor.is_floating_point()}
    store = run.adapter.store
    store.promote(store.add(replace(source_weights(), state={**source_weights().state, **state}), Record()))
    run._use(store.current())

    def fail(frame: Frame) -> None:
        raise NetworkError("network_not_finite", "logits are not finite")

    monkeypatch.setattr(run, "source", fail)
    run.label(DUSK[0])
    assert len(run.timeline) == 1
    assert run.timeline.as_dict()["rollbacks"] == 0
    assert "logits are not finite" in run.notices.as_dict()["source_failed"]
    assert adaptive_replay._before_and_after(run, DUSK[:2]) == []


@pytest.mark.parametrize("path", sorted((resources.share_directory() / "config/recipes").glob("*.yaml")), ids=str)
def test_every_recipe_fits_the_schema(path: Path) -> None:
    Config.load("town", load_recipe(path.stem))


def test_the_default_recipe_is_the_default() -> None:
    assert Config.load("town", load_recipe("default")) == Config.load("town")


def test_an_unknown_recipe_is_named() -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        load_recipe("nonsense")


@pytest.mark.parametrize("passes", [1, 2])
def test_an_interruption_in_a_round_leaves_a_report(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    monkeypatch.setattr(bag_frames, "BagReader", FakeReader)
    run_round = Adapter.run_round

    def interrupted(adapter: Adapter, token: CancellationToken) -> Decision | None:
        os.kill(os.getpid(), signal.SIGINT)
        return run_round(adapter, token)

    monkeypatch.setattr(Adapter, "run_round", interrupted)
    adaptive_replay.replay_adapting(Path("dusk"), config, tmp_path / "run", passes=passes)
    facts = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert facts["interrupted"]
    assert facts["adaptation"]["decisions"] == []
    assert 0 < facts["frames_labelled"] < len(DUSK)
    assert ("interrupted_pass" in facts["notices"]) == (passes == 2)
    assert (tmp_path / "run" / "report.html").exists()


def test_a_network_that_fails_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such layer")

    monkeypatch.setattr(Network, "forward", fail)
    with pytest.raises(NetworkError, match="no such layer"):
        online_run(tmp_path)
    assert not (tmp_path / "store").exists()
