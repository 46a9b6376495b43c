"""The benchmark on real drives: its tables of made-up counts, and a frame or two of the drives themselves."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_network import TINY
from typer.testing import CliRunner

from sam_adapt_ros import cli
from sam_adapt_ros.benchmarks import real, real_models
from sam_adapt_ros.benchmarks.adaptation import ADAPTED, NORMALIZATION, ORACLE, SOURCE
from sam_adapt_ros.benchmarks.real_drives import (
    CITIES,
    Street,
    folder_of,
    read_karlsruhe,
    read_san_francisco,
    san_francisco,
)
from sam_adapt_ros.benchmarks.real_models import DIRECT, GAPP, SELECTION
from sam_adapt_ros.benchmarks.real_tables import CityTable, ModelCounts
from sam_adapt_ros.benchmarks.unseen_drives import KEYS
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.weights import Weights
from sam_adapt_ros.taxonomy import Taxonomy

SHAPES = Taxonomy("shapes", ("road", "wall", "pole"), np.zeros((3, 3), np.uint8))


# Tables ---------------------------------------------------------------------------------------------------------------


def counts(right: float, frames: int = 8, into: int = 1) -> dict[str, np.ndarray]:
    """Of roads and walls, no pole; of each 100 points a frame, that share is right; wrong roads are ``into``."""
    rng = np.random.default_rng(0)
    shares = np.clip(right + rng.normal(0, 0.02, frames), 0, 1)
    found = np.zeros((frames, 3, 4), np.int64)
    found[:, 0, 0] = found[:, 1, 1] = np.round(100 * shares)
    found[:, 0, into] = 100 - found[:, 0, 0]
    found[:, 1, 0] = 100 - found[:, 1, 1]
    return dict.fromkeys(KEYS, found)


def city_table(adapted: dict[str, np.ndarray], **facts) -> CityTable:
    models = {
        SOURCE: ModelCounts(counts(0.7), {}),
        NORMALIZATION: ModelCounts(counts(0.7), {}),
        ADAPTED: ModelCounts(adapted, facts),
        ORACLE: ModelCounts(counts(0.9), {}),
    }
    return CityTable(CITIES["karlsruhe"], SHAPES, models, [0, 0, 1, 1, 2, 2, 3, 3])


def test_the_mean_is_over_the_classes_that_the_truth_has_beside_the_published_one() -> None:
    table = city_table(counts(0.8))
    iou = table.iou(SOURCE)
    assert np.isnan(iou[2])
    assert table.miou(SOURCE).value == pytest.approx(np.nanmean(iou))
    assert table.published(SOURCE) == pytest.approx(np.nansum(iou) / 3)
    assert table.miou(SOURCE).low < table.miou(SOURCE).value < table.miou(SOURCE).high
    header, rows = table.classes()
    assert header[1:] == ["road", "wall"]
    assert rows[0] == ["points, %", "50.0", "50.0"]


def test_a_class_that_is_only_predicted_costs_those_that_it_is_taken_for() -> None:
    table = city_table(counts(0.7, into=2))
    iou = table.iou(ADAPTED)
    assert np.isnan(iou[2]) and iou[1] > iou[0]
    assert table.miou(ADAPTED).value == pytest.approx(np.nanmean(iou))


def test_a_rare_class_that_a_draw_lacks_does_not_change_what_the_mean_is_over() -> None:
    found = counts(0.7)["fused_seen"].copy()
    found[0, 2, 0] = 5  # a pole, in one frame, taken for a road
    table = city_table(dict.fromkeys(KEYS, found))
    table.models = {ADAPTED: table.models[ADAPTED]}
    table = CityTable(table.city, SHAPES, table.models, [0, 0, 1, 1, 2, 2, 3, 3])
    estimate = table.miou(ADAPTED)
    assert estimate.value == pytest.approx(np.mean(table.iou(ADAPTED)))
    assert estimate.high < 0.45 < np.mean(table.iou(ADAPTED)[:2])  # of two classes in three quarters of the draws


def test_differences_are_paired_by_block_and_noise_is_called_so() -> None:
    header, rows = city_table(counts(0.8)).table()
    by_model = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert not by_model[ADAPTED]["- source"].endswith("noise")
    assert by_model[NORMALIZATION]["- source"] == "+0.000 [+0.000, +0.000] noise"
    assert by_model[SOURCE]["- source"] == ""


def test_verdicts_name_what_is_missed_and_the_classes_that_lose() -> None:
    decisions = [{"promoted": "student"}, {"promoted": ""}]
    lines = city_table(counts(0.8), decisions=decisions).verdicts()
    assert "meets >= +0.05" in lines[0] and lines[2].endswith("none")
    assert lines[3] == "2 rounds, promoted: student"
    worse = city_table(counts(0.6)).verdicts()
    assert "MISSES" in worse[0]
    assert "road -0." in worse[2] and "wall -0." in worse[2]
    assert worse[3] == "0 rounds, promoted: nothing"


def test_pseudo_labels_are_told_by_class() -> None:
    table = city_table(counts(0.8))
    found = {"coverage": 0.7, "precision": 0.95}
    by_class = {"road": {"coverage": 0.9, "precision": 1.0}, "wall": {"coverage": 0.5, "precision": None}}
    found["classes"] = {**by_class, "pole": {"coverage": None, "precision": None}}
    table.models = {**table.models, SELECTION: ModelCounts(counts(0.7), {"pseudo_labels": found})}
    header, rows = table.pseudo_labels()
    assert header == ["coverage / precision, %", "all", "road", "wall", "pole"]
    assert rows == [[SELECTION, "70 / 95", "90 / 100", "50 / –", ""]]
    text = table.markdown()
    assert "absent = 0" in text and "### Karlsruhe" in text


# The drives -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def town() -> Taxonomy:
    return Taxonomy.load("town")


def test_karlsruhes_places_are_apart(real_data: Path, town: Taxonomy) -> None:
    street = read_karlsruhe(folder_of("karlsruhe", real_data), town)
    assert len(street.frames) == len(street.judged) == 32
    assert street.block == np.repeat(range(8), 4).tolist()
    assert street.fold == np.repeat(range(4), 8).tolist()
    x = np.array([frame.T_odom_lidar[0, 3] for frame in street.frames]).reshape(8, 4)
    assert (np.diff(x.mean(1)) > 900).all() and (np.ptp(x, axis=1) < 20).all()
    stamps = [frame.stamp_ns for frame in street.frames]
    assert stamps == sorted(set(stamps))
    assert all(len(frame.views) == 1 for frame in street.frames)


def test_san_franciscos_drive(real_data: Path, town: Taxonomy) -> None:
    street = read_san_francisco(folder_of("san_francisco", real_data), town)
    assert len(street.frames) == 38 and street.judged == list(range(0, 38, 2))
    assert sorted(set(street.block)) == list(range(6)) and sorted(set(street.fold)) == [0, 1, 2]
    assert street.fold == sorted(street.fold)  # thirds are of successive frames
    assert [view.name for view in street.frames[0].views] == ["front"]
    known = [np.unique(frame.ground_truth).tolist() for frame in street.frames[:2]]
    assert all({0, 3, 5} <= {*classes} for classes in known)  # road, building, vehicle


def test_training_files_of_the_cities_name_what_is_measured_on() -> None:
    trained = Config.load("train_san_francisco")
    measured = san_francisco(Taxonomy.load(trained.taxonomy))
    for name in ("taxonomy", "lidar", "cameras", "ground_truth"):
        assert getattr(trained, name) == getattr(measured, name), name
    karlsruhe = Config.load("train_karlsruhe")
    assert karlsruhe.taxonomy == trained.taxonomy
    assert karlsruhe.training.data["karlsruhe"].cameras == ["CAM_FRONT"]
    assert karlsruhe.training.encoder_weights == trained.training.encoder_weights == "imagenet"


def test_a_missing_drive_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["bench-real", "--data", str(tmp_path), "-o", str(tmp_path / "out")])
    assert isinstance(result.exception, BagError)
    assert f"{tmp_path}/semantickitti: is missing" in str(result.exception)


def test_every_row_is_measured_once(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    ten = Taxonomy.load("a2d2_semantickitti10")  # the class set is that of the weights, not the preset's
    weights_files.save(
        tmp_path / "tiny.safetensors", Weights(Network(len(ten), TINY).state_dict(), ten.name, ten.classes, TINY)
    )
    quick = {
        "segmenter.weights": str(tmp_path / "tiny.safetensors"),
        "adaptation.self_training.steps": 1,
        "adaptation.self_training.batch_size": 1,
    }
    config = Config.load("town", quick)
    whole = read_karlsruhe(folder_of("karlsruhe", real_data), ten)
    thin = [
        replace(frame, points=frame.points[::10], ground_truth=frame.ground_truth[::10], intensity=None)
        for frame in whole.frames[:8:4]
    ]
    few = Street(thin, [0, 1], [0, 1], [0, 1])
    city = CITIES["karlsruhe"]
    monkeypatch.setitem(CITIES, "karlsruhe", type(city)(city.name, city.title, city.rule, lambda *_: few))
    training = real_models.ORACLE_TRAINING.model_copy(update={"steps": 1, "batch_size": 1})
    monkeypatch.setattr(real_models, "ORACLE_TRAINING", training)
    monkeypatch.setattr(real_models, "PASSES", 1)
    reported: dict[str, list[int]] = {}

    def stages(title: str):
        return nullcontext(lambda done, total: reported.setdefault(title, []).append(done))

    (table,) = real.bench_real(config, real_data, tmp_path / "out", ["karlsruhe"], stages=stages)
    assert all(found == sorted(found) for found in reported.values()), "progress goes backwards"
    assert list(table.models) == [SOURCE, NORMALIZATION, SELECTION, DIRECT, GAPP, ADAPTED, ORACLE]
    source, normalized = (table.models[name].counts["2d"] for name in (SOURCE, NORMALIZATION))
    assert source.sum() == normalized.sum() > 0
    assert (source != normalized).any()
    assert len(table.pseudo_labels()[1]) == 3
    found = json.loads((tmp_path / "out/results.json").read_text(), parse_constant=pytest.fail)
    assert found["cities"]["karlsruhe"]["models"][GAPP]["facts"]["pseudo_labels"]["coverage"] > 0
    assert len(list((tmp_path / "out/pictures").glob("karlsruhe_*.jpg"))) == 2

    (tmp_path / "out/parts/karlsruhe-1.npz").unlink()
    made = []
    for name, maker in real_models.MODELS.items():

        def noted(*given, name=name, maker=maker):
            made.append(name)
            return maker(*given)

        monkeypatch.setitem(real_models.MODELS, name, noted)
    (again,) = real.bench_real(config, real_data, tmp_path / "out", ["karlsruhe"])
    assert made == [NORMALIZATION]
    assert again.table() == table.table()
