"""The ablation's figures against a computation of their own, its intervals, its files."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from noisy_predictions import install, pseudo_labelled
from scipy import stats
from typer.testing import CliRunner

from sam_adapt_ros import cli
from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.benchmarks.ablation import Ablation, Result, ablate, table, write_report
from sam_adapt_ros.benchmarks.ablation.estimates import METRICS, estimates, total
from sam_adapt_ros.benchmarks.ablation.measurement import Measured
from sam_adapt_ros.benchmarks.ablation.parallax import parallax_points
from sam_adapt_ros.benchmarks.ablation.variants import rows, sweeps
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError, MaskError
from sam_adapt_ros.evaluation.label_statistics import LabelStatistics
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.geometry.projection import project
from sam_adapt_ros.masks import build
from sam_adapt_ros.pipelines.simulated_drives import town_drives
from sam_adapt_ros.pseudo_labels import PseudoLabelGenerator
from sam_adapt_ros.segmentation import load_segmenter

CONFIG = Config.load("town")
GROUP = "drives"


@pytest.fixture(scope="module")
def frames(night_bag: Path) -> list[Frame]:
    with BagReader(night_bag, CONFIG) as reader:
        return list(reader.frames())


@pytest.fixture(scope="module")
def ablation(night_bag: Path) -> Ablation:
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        return ablate({GROUP: [night_bag]}, CONFIG)


def counted(frames: list[Frame], labels: list[np.ndarray], parallax: bool = False) -> tuple[float, float, float]:
    """Coverage, precision, recall over the points that a camera sees, counted one frame after another."""
    points = labelled = right = 0
    for frame, mine in zip(frames, labels, strict=True):
        among = project(frame.points, frame.views[0]).valid
        if parallax:
            astray = parallax_points(frame)
            assert astray is not None
            among = among & astray
        for label, true in zip(mine[among], frame.ground_truth[among], strict=True):
            points += 1
            labelled += label != IGNORE
            right += label == true
    return labelled / points, right / labelled, right / points


@pytest.mark.parametrize("generator", ["segments", "instances"])
def test_rows_are_what_the_pseudo_labeller_does(ablation: Ablation, frames: list[Frame], generator: str) -> None:
    masks = CONFIG.masks.model_copy(update={"generator": generator})
    segmenter, _ = load_segmenter(CONFIG)
    labeler = PseudoLabelGenerator(CONFIG.pseudo_labels, build(masks), segmenter.fusion, 8)
    made = [pseudo for pseudo, _ in pseudo_labelled(labeler, segmenter.network.architecture, frames)]
    names = ("+ MLA + GAPP", "+ MLA, direct") if generator == "segments" else ("GAPP, instances", "direct, instances")
    stages = {
        "selection": [pseudo.selected for pseudo in made],
        names[0]: [pseudo.labels for pseudo in made],
        names[1]: [pseudo.direct for pseudo in made],
    }
    for name, labels in stages.items():
        got = ablation.find(GROUP, name).estimates
        for metric, expected in zip(("coverage", "precision", "recall"), counted(frames, labels), strict=True):
            assert got[metric].value == pytest.approx(expected, abs=1e-12), (name, metric)
        assert got["parallax_precision"].value == pytest.approx(counted(frames, labels, parallax=True)[1], abs=1e-12)
    selection, gapp = (ablation.find(GROUP, name).estimates for name in ("selection", names[0]))
    assert gapp["coverage_gain"].value == pytest.approx(gapp["coverage"].value / selection["coverage"].value)
    assert gapp["precision_change"].value == pytest.approx(gapp["precision"].value - selection["precision"].value)


def test_every_row_counts_the_same_points(ablation: Ablation, frames: list[Frame]) -> None:
    expected = sum(int(project(frame.points, frame.views[0]).valid.sum()) for frame in frames)
    for result in ablation.results:
        statistics = total(result.drives[0]).seen
        assert statistics.points == statistics.confusion.points == expected
        by_class = statistics.confusion.counts.sum(1)
        known = by_class > 0
        recall = np.array([result.by_class(place)["recall"].value for place in range(8)])
        assert (recall[known] * by_class[known]).sum() / expected == pytest.approx(result.estimates["recall"].value)


def test_every_sweep_passes_through_the_configured_row(ablation: Ablation) -> None:
    configured = {**CONFIG.pseudo_labels.enhancement.model_dump(), **CONFIG.pseudo_labels.selection.model_dump()}
    lines = {result.variant.name for result in ablation.results if result.variant.swept}
    assert len(lines) == 10
    for line in lines:
        found = [result for result in ablation.results if result.variant.swept and result.variant.name == line]
        here = [result for result in found if result.variant.value == configured[result.variant.parameter]]
        row = ablation.find(GROUP, "selection" if line.endswith("alone") else "+ MLA + GAPP")
        assert [result.estimates for result in here] == [row.estimates]
        assert len({result.estimates["coverage"].value for result in found}) > 1, line


def test_a_row_without_a_constraint_is_the_end_of_its_sweep(ablation: Ablation) -> None:
    ends = {"size": ("min_points", 1), "purity": ("min_purity", 0), "representativity": ("min_representativity", 0)}
    for name, (parameter, value) in ends.items():
        (end,) = [r for r in ablation.results if (r.variant.name, r.variant.value) == (parameter, value)]
        assert ablation.find(GROUP, f"GAPP without {name}").estimates == end.estimates


def test_propagation_along_surfaces_is_right_more_often_where_only_parallax_is_at_work(ablation: Ablation) -> None:
    gapp, direct = (ablation.find(GROUP, f"{how}, instances").estimates for how in ("GAPP", "direct"))
    assert gapp["parallax_precision"].value > direct["parallax_precision"].value
    assert 0.005 < ablation.results[0].parallax_share < 0.3


def test_parallax_points_against_a_loop(frames: list[Frame]) -> None:
    frame = frames[0]
    view = frame.views[0]
    projection = project(frame.points, view)
    expected = np.zeros(len(frame.points), bool)
    for place in np.flatnonzero(projection.valid):
        u, v = projection.uv[place]
        shown = view.instances[min(int(v + 0.5), 239), min(int(u + 0.5), 479)]
        expected[place] = shown not in (0, frame.instances[place])
    np.testing.assert_array_equal(parallax_points(frame), expected)


def test_parallax_is_not_known_without_instances_of_the_points(frames: list[Frame]) -> None:
    assert parallax_points(Frame(0, "", frames[0].points, frames[0].views, frames[0].ground_truth)) is None


def test_rows_say_what_they_change() -> None:
    found = {variant.name: variant for variant in rows(CONFIG.pseudo_labels, ["segments", "regions"])}
    assert found["selection"].enhancement is None
    assert found["+ MLA, direct"].enhancement.propagation == "direct"
    assert found["GAPP without purity"].enhancement.min_purity == 0
    assert found["GAPP, relabel off"].enhancement.relabel is False
    assert found["GAPP with visibility"].visible and not found["+ MLA + GAPP"].visible
    assert found["GAPP, regions"].generator == "regions"
    assert len(found) == len(rows(CONFIG.pseudo_labels, ["segments", "regions"]))


def test_sweeps_stay_within_what_the_schema_allows() -> None:
    for variant in sweeps(CONFIG.pseudo_labels, "segments"):
        if variant.enhancement is not None:
            assert variant.enhancement.min_radius <= variant.enhancement.max_radius
            type(variant.enhancement).model_validate(variant.enhancement.model_dump())


# Intervals ------------------------------------------------------------------------------------------------------------


def frame_of(right: int, wrong: int, without: int) -> Measured:
    statistics = LabelStatistics(2)
    labels = np.repeat(np.array([0, 1, IGNORE], np.uint8), [right, wrong, without])
    statistics.add(labels, np.zeros(len(labels), np.uint8))
    return Measured(statistics, None)


def test_several_drives_give_their_mean_and_students_interval() -> None:
    drives = [[frame_of(50, 10, 40), frame_of(70, 0, 30)], [frame_of(80, 10, 10)], [frame_of(60, 20, 20)]]
    found = estimates(drives, [[frame_of(40, 0, 60)]] * 3)
    coverages = [(60 + 70) / 200, 0.9, 0.8]
    low, high = stats.t.interval(0.95, 2, np.mean(coverages), stats.sem(coverages))
    assert found["coverage"] == pytest.approx((np.mean(coverages), low, high))
    assert found["precision"].value == pytest.approx(np.mean([120 / 130, 80 / 90, 60 / 80]))
    assert found["coverage_gain"].value == pytest.approx(np.mean(coverages) / 0.4)
    assert math.isnan(found["parallax_precision"].value)


def test_a_single_drive_is_resampled_by_frames() -> None:
    rng = np.random.default_rng(1)
    frames = [frame_of(int(right), 5, 95 - int(right)) for right in rng.integers(40, 80, 40)]
    baseline = [frame_of(30, 0, 70)] * 40
    found = estimates([frames], [baseline])
    assert found == estimates([frames], [baseline])
    share = np.array([frame.seen.coverage for frame in frames])
    assert found["coverage"].value == pytest.approx(share.mean())
    assert found["coverage"].half_width == pytest.approx(1.96 * share.std() / math.sqrt(40), rel=0.25)
    assert found["coverage"].low < share.mean() < found["coverage"].high


def test_a_single_frame_has_no_interval() -> None:
    found = estimates([[frame_of(1, 0, 1)]], [[frame_of(1, 0, 1)]])["coverage"]
    assert found.value == 0.5
    assert math.isnan(found.half_width)


# Files ----------------------------------------------------------------------------------------------------------------


def test_files_hold_every_row(ablation: Ablation, tmp_path: Path) -> None:
    write_report(ablation, tmp_path)
    found = json.loads((tmp_path / "ablation.json").read_text(), parse_constant=pytest.fail)
    assert len(found["results"]) == len(ablation.results)
    with (tmp_path / "ablation.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["variant"] for line in lines] == [result.variant.name for result in ablation.results]
    for line, result in zip(lines, ablation.results, strict=True):
        assert float(line["precision"]) == result.estimates["precision"].value
        assert set(line) >= {f"{name}_low" for name in METRICS}
    html = (tmp_path / "report.html").read_text()
    assert html.count("<img") == 3
    assert "GAPP without purity" in html
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {
        "drives_curve.png",
        "drives_classes.png",
        "drives_sweeps.png",
    }


def test_the_table_shows_rows_only(ablation: Ablation) -> None:
    shown = table(ablation.results)
    assert [row[0] for row in shown] == [r.variant.name for r in ablation.results if not r.variant.swept]
    assert shown[0][2] == "1.00 ± 0.00"
    assert shown[0][4] == "+0.0 ± 0.0"


def test_without_truth_there_is_coverage_only(night_bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    config = CONFIG.model_copy(update={"ground_truth": CONFIG.ground_truth.model_copy(update={"topic": "/none"})})
    result = ablate({GROUP: [night_bag]}, config, ["segments"], swept=False)
    write_report(result, tmp_path)
    row: Result = result.find(GROUP, "+ MLA + GAPP")
    assert row.estimates["coverage"].value > 0
    assert math.isnan(row.estimates["precision"].value)
    assert table([row])[0][3] == "–"
    json.loads((tmp_path / "ablation.json").read_text(), parse_constant=pytest.fail)


# Wrong arguments ------------------------------------------------------------------------------------------------------


def test_no_bags_and_unknown_generators_are_refused(night_bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    with pytest.raises(BagError, match="at least one bag"):
        ablate({GROUP: []}, CONFIG)
    with pytest.raises(MaskError, match="unknown generator 'magic'"):
        ablate({GROUP: [night_bag]}, CONFIG, ["magic"])


def test_the_command_takes_bags_or_domains(night_bag: Path) -> None:
    for arguments in ([], [str(night_bag), "--domain", "night"]):
        result = CliRunner().invoke(cli.app, ["ablate", *arguments])
        assert result.exit_code == 2
        assert "either bags or --domain" in result.output


def test_the_command_prints_the_table(night_bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    arguments = ["ablate", str(night_bag), "--output", str(tmp_path), "--no-sweep", "--masks", "instances"]
    result = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "GAPP, instances" in result.output
    assert "regions" not in result.output
    assert (tmp_path / "report.html").is_file()


def test_town_drives_are_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    steps: list[tuple[int, int]] = []
    drives = town_drives(["night", "other_lidar"], [5], 1, lambda *step: steps.append(step))
    assert list(drives) == ["night", "other_lidar"]
    assert steps == [(1, 2), (2, 2)]
    assert all((bag / "metadata.yaml").is_file() for bags in drives.values() for bag in bags)
    assert town_drives(["night", "other_lidar"], [5], 1, lambda *step: steps.append(step)) == drives
    assert len(steps) == 2
