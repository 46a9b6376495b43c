"""``pseudo-label``: the bag it writes, its statistics against a computation of their own, its pictures."""

import json
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
from noisy_predictions import install, pseudo_labelled
from typer.testing import CliRunner

from sam_adapt_ros import cli
from sam_adapt_ros.bags import BagReader, MessageReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import OutputError
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.masks import build
from sam_adapt_ros.messages import read_labels, stamp_ns
from sam_adapt_ros.pipelines.pseudo_label import TOPIC, pseudo_label
from sam_adapt_ros.pseudo_labels import FramePrediction, PseudoLabelGenerator, PseudoLabels
from sam_adapt_ros.segmentation import load_segmenter
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization.pseudo_label_pictures import RIGHT, WRONG, PseudoLabelFrame, pseudo_label_picture

CONFIG = Config.load("town", {"masks.generator": "instances"})


Made = tuple[Frame, PseudoLabels, FramePrediction]


@pytest.fixture(scope="module")
def made(night_bag: Path) -> list[Made]:
    segmenter, _ = load_segmenter(CONFIG)
    generator = PseudoLabelGenerator(CONFIG.pseudo_labels, build(CONFIG.masks), segmenter.fusion, 8)
    with BagReader(night_bag, CONFIG) as reader:
        frames = list(reader.frames())
    found = pseudo_labelled(generator, segmenter.network.architecture, frames)
    return [(frame, *each) for frame, each in zip(frames, found, strict=True)]


@pytest.fixture(scope="module")
def output(night_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pseudo")
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        steps: list[tuple[int, int]] = []
        pseudo_label(night_bag, CONFIG, folder, stages=lambda _: nullcontext(lambda *step: steps.append(step)))
    assert steps == [(done, 6) for done in range(7)] + [(done, 3) for done in range(4)]  # two passes, then masks
    return folder


def recorded(bag: Path) -> list[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    with MessageReader(bag) as source:
        messages = [message.decode() for message in source.messages({TOPIC})]
    return [(stamp_ns(message.header), *read_labels(message)) for message in messages]


def test_the_bag_holds_the_labels_of_every_sweep(output: Path, made: list[Made]) -> None:
    found = recorded(output / "pseudo_labels")
    assert len(found) == len(made)
    for (stamp, points, labels, probability), (frame, pseudo, prediction) in zip(found, made, strict=True):
        assert stamp == frame.stamp_ns
        np.testing.assert_array_equal(points, frame.points)
        np.testing.assert_array_equal(labels, pseudo.labels)
        own = prediction.to_frame(prediction.candidates.labels, IGNORE)
        sure = prediction.to_frame(prediction.candidates.probability, 0)
        for place in range(0, len(labels), 97):
            expected = sure[place] if labels[place] == own[place] != IGNORE else 0
            assert probability[place] == expected
        assert 0 < np.count_nonzero(labels == IGNORE) < len(labels)


@pytest.mark.parametrize("scope", ["seen", "all"])
def test_statistics_by_stage(output: Path, made: list[Made], scope: str) -> None:
    summary = json.loads((output / "summary.json").read_text())
    assert list(summary["stages"]) == ["selected", "direct", "labels"]
    for stage, scopes in summary["stages"].items():
        labels, truth = [], []
        for frame, pseudo, prediction in made:
            among = prediction.to_frame(prediction.seen, False) if scope == "seen" else np.ones(len(frame.points), bool)
            labels.append(pseudo.stages()[stage][among])
            truth.append(frame.ground_truth[among])
        all_labels, all_truth = np.concatenate(labels), np.concatenate(truth)
        given = all_labels != IGNORE
        found = scopes[scope]
        assert found["points"] == len(all_labels)
        assert found["coverage"] == pytest.approx(given.mean())
        assert found["precision"] == pytest.approx((all_labels == all_truth)[given].mean())
        assert found["recall"] == pytest.approx((all_labels == all_truth).mean())
        for place, name in enumerate(Taxonomy.load("town").classes):
            if (all_truth == place).any():
                assert found["classes"][name]["coverage"] == pytest.approx(given[all_truth == place].mean())
                right = (all_labels == place)[all_truth == place].mean()
                assert found["classes"][name]["recall"] == pytest.approx(right)


def test_what_was_kept_out_and_what_became_of_the_masks(output: Path, made: list[Made]) -> None:
    summary = json.loads((output / "summary.json").read_text())
    points = wrong = 0
    for frame, pseudo, _ in made:
        out = (pseudo.direct != IGNORE) & (pseudo.labels == IGNORE)
        points += int(out.sum())
        wrong += int((out & (pseudo.direct != frame.ground_truth)).sum())
    assert summary["kept_out"] == {"points": points, "known": points, "wrong": wrong}
    records = [record for _, pseudo, _ in made for camera in pseudo.cameras for record in camera.records]
    assert sum(summary["masks"].values()) == len(records)
    assert summary["masks"]["labelled"] == sum(record.label is not None for record in records)


def test_the_run_is_accounted_for(output: Path) -> None:
    summary = json.loads((output / "summary.json").read_text())
    assert summary["frames_in"] == summary["frames_labelled"] == 3
    assert summary["masks_by"] == "instances"
    assert set(summary["latency_ms"]) == {"masks", "enhance", "write"}
    html = (output / "report.html").read_text()
    assert html.count("<img") == 4  # three frames and the timing
    assert {path.name for path in (output / "pictures").iterdir()} >= {f"frame_{n:02d}.jpg" for n in range(3)}


def test_two_runs_are_the_same_and_an_existing_bag_is_kept(
    night_bag: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    pseudo_label(night_bag, CONFIG, tmp_path)
    for first, second in zip(recorded(output / "pseudo_labels"), recorded(tmp_path / "pseudo_labels"), strict=True):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(OutputError, match=r"summary\.json exists"):
        pseudo_label(night_bag, CONFIG, tmp_path)


def test_without_truth_there_is_a_report_too(night_bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    # So short a radius keeps points out that direct propagation labels.
    config = CONFIG.updated({"ground_truth.topic": "/none", "pseudo_labels.enhancement.max_radius": 0.3})
    summary = pseudo_label(night_bag, config, tmp_path).as_dict()
    assert summary["kept_out"]["points"] > 0
    assert summary["stages"]["labels"]["seen"]["precision"] is None
    assert "direct propagation labels." in (tmp_path / "report.html").read_text()


def has_color(picture: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((picture == np.array(color, np.uint8)).all(axis=2).any())


def test_pictures_show_what_was_kept_out(made: list[Made]) -> None:
    frame, pseudo, _ = made[0]
    taxonomy = Taxonomy.load("town")
    picture = pseudo_label_picture(PseudoLabelFrame(frame, pseudo), taxonomy)
    assert picture.shape[1] == 1280
    assert has_color(picture, RIGHT) and has_color(picture, WRONG)
    same = PseudoLabels(pseudo.selected, pseudo.labels, pseudo.labels, pseudo.cameras, {})
    nothing = pseudo_label_picture(PseudoLabelFrame(frame, same), taxonomy)
    assert not has_color(nothing, RIGHT) and not has_color(nothing, WRONG)


def test_pictures_need_neither_truth_nor_cameras(made: list[Made]) -> None:
    frame, pseudo, _ = made[0]
    taxonomy = Taxonomy.load("town")
    unknown = Frame(0, "", frame.points, frame.views)
    assert pseudo_label_picture(PseudoLabelFrame(unknown, pseudo), taxonomy).shape[1] == 1280
    blind = PseudoLabels(pseudo.selected, pseudo.selected, pseudo.selected, (), {})
    alone = pseudo_label_picture(PseudoLabelFrame(Frame(0, "", frame.points), blind), taxonomy)
    assert alone.shape[1] == 1280


def test_the_command_prints_the_stages(night_bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    arguments = ["pseudo-label", str(night_bag), "--config", "town", "--output", str(tmp_path)]
    result = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "+ MLA, direct propagation" in result.output
    assert cv2.imread(str(tmp_path / "pictures" / "frame_00.jpg")) is not None
