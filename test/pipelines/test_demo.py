"""The demo on a drive of some seconds: live, learned from, measured, told."""

import html
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from rerun_support import read_rrd

from sam_adapt_ros.adaptation import StoreReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.pipelines.demo import DemoSettings, adapt_live
from sam_adapt_ros.pipelines.demo_view import DemoView
from sam_adapt_ros.progress import Progress

FRAMES = 12
QUICK = {
    "rounds.min_frames": 4,
    "rounds.min_held_out": 1,
    "rounds.new_frames": 100,  # one round
    "buffer.held_out": 0.4,
    "self_training.steps": 1,
    "resources.nice": 0,
    # Anything that is not broken may pass: what is looked at here is what comes of a promotion.
    "gate.criteria": ["collapse", "branch_agreement", "consistency"],
    "gate.consistency_tolerance": 1.0,
    "gate.pseudo_label_tolerance": 1.0,
    "gate.min_pseudo_label_gain": 0.0,
    "gate.confidence": 0.0,
    "gate.fused_tolerance": 1.0,
}


REPORTS: dict[str, list[tuple[int, int]]] = {}


@contextmanager
def stages(title: str) -> Iterator[Progress]:
    reports = REPORTS.setdefault(title, [])
    yield lambda done, total: reports.append((done, total))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("demo")
    oracle = {"oracle_seeds": (80,), "oracle_frames": 2, "oracle_steps": 1}
    settings = DemoSettings(frames=FRAMES, rate=0.4, unseen_frames=2, patience_s=300.0, **oracle)
    config = Config.load("town", {f"adaptation.{name}": value for name, value in QUICK.items()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(output / "cache"))
        adapt_live(settings, config, output, stages, view=partial(DemoView.open, output=output / "view.rrd"))
    return output


def test_every_frame_is_accounted_for_while_it_learns(told: Path) -> None:
    summary = json.loads((told / "summary.json").read_text())
    assert summary["frames_labelled"] + sum(summary["dropped"].values()) == summary["frames_in"] == FRAMES
    # A machine that is busy with other things does not keep the rate, and nothing else is dropped for.
    assert set(summary["dropped"]) <= {"overload"}, (told / "segmenter.log").read_text()
    assert summary["frames_labelled"] > FRAMES / 2


def test_the_block_has_what_it_promises(told: Path) -> None:
    block = json.loads((told / "summary.json").read_text())["adaptation"]
    names = {"source", "online", "source_unseen", "batchnorm_only", "final", "oracle"}
    for values in (block, block["all_points"]):
        assert {name for name in values if name.startswith("miou_")} == {f"miou_{name}" for name in names}
        assert all(0 < values[f"miou_{name}"] < 1 for name in names)
        gap = values["miou_oracle"] - values["miou_source_unseen"]
        if gap > 0:
            gain = values["miou_final"] - values["miou_source_unseen"]
            assert values["recovered"] == pytest.approx(gain / gap)
        else:
            assert values["recovered"] is None
    assert block["promotions"] + block["rejections"] == len(block["decisions"]) == 1
    assert block["rollbacks"] == 0
    store = StoreReader(told / "store")
    assert store.verify() == []
    assert store.current().name == block["last_weights"]
    assert bool(block["promotions"]) == (store.current().name != store.source().name)


def test_the_report_tells_the_story_in_pictures(told: Path) -> None:
    page = html.unescape((told / "report.html").read_text())
    for part in ("Adaptation", "Before and after", "Gate log", "Round 1", "recovered"):
        assert part in page
    pictures = {path.name for path in (told / "pictures").iterdir()}
    assert {"adaptation.png", "before_after_00.jpg", "overlay_00.jpg"} <= pictures
    assert re.search(r"(Gained|Changed) (most|least)|(Lost most|Median) of 2 frames: [0-9.]+ % of the points", page)
    assert "miou_" not in page
    first = page[page.index("<h2>Adaptation</h2>") :].split("<p>")[1]
    assert re.match(r"1 of 1 round put new weights to use|Nothing was promoted in 1 round, the source model", first)


def test_the_view_shows_the_drive_and_then_the_unseen_one(told: Path) -> None:
    shown = read_rrd(told / "view.rrd")
    labelled = json.loads((told / "summary.json").read_text())["frames_labelled"]
    total = labelled + 2
    assert shown["/source/cloud"]["frame"] == shown["/truth/cloud"]["frame"] == list(range(total))
    published = shown["/published/cloud"]
    assert len(published["frame"]) > total  # some were shown while it drove, too
    assert {*published["stamp"]} == {*shown["/source/cloud"]["stamp"]}
    assert shown["/cameras/CAM_FRONT/image"]["frame"] == list(range(total))
    assert len(shown["/curve/source"]["Scalars:scalars"]) == total
    said = " ".join(text for (text,) in shown["/events"]["TextLog:text"])
    assert ("promoted" in said or "refused" in said) and "the unseen drive begins" in said


def test_no_stage_is_silent(told: Path) -> None:
    counted = {
        "rendering the drive": FRAMES,
        "driving, live over DDS": FRAMES,
        "evaluating the drive, with the source model for comparison": FRAMES,
        "rendering the unseen drive": 2,
        "scoring the source model on the unseen drive": 2,
        "re-estimating BatchNorm statistics": FRAMES,
        "scoring BatchNorm statistics alone on the unseen drive": 2,
        "scoring the adapted weights on the unseen drive": 2,
        "training the oracle with true labels": 3,  # two frames to be rendered and one step, by another process
        "scoring the oracle on the unseen drive": 2,
    }
    assert {title: reports[-1][1] for title, reports in REPORTS.items() if reports} == counted
    assert REPORTS["training the oracle with true labels"][-1] == (3, 3)
    uncounted = {
        "starting segmenter and adapter",
        "reading the recorded labels",
        "loading the weights",
        "drawing the report",
    }
    assert uncounted <= set(REPORTS)
