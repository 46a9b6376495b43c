"""The benchmark files: those that ship, and what is refused."""

import numpy as np
import pytest

from sam_adapt_ros.config import load_architecture
from sam_adapt_ros.config.benchmark import load_benchmark
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.resources import share_directory
from sam_adapt_ros.taxonomy import Taxonomy

NAMES = sorted(path.stem for path in (share_directory() / "config/benchmarks").glob("*.yaml"))


def test_the_published_four_and_the_real_fifth_ship():
    assert NAMES == [
        "a2d2_semantickitti",
        "day_night",
        "semantickitti_pandaset",
        "usa_singapore",
        "vkitti_semantickitti",
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("setting", ["uda", "source_free"])
def test_each_gives_a_configuration_a_stage(name, setting):
    config = load_benchmark(name)
    for stage in ("source", "xmuda", "student_selected", "student", "oracle"):
        settings = config.settings_of(stage, setting, {})
        assert settings.training.points == "seen"
        assert settings.segmenter.fusion == "mean"
        assert settings.pseudo_labels.voting_cell == 0
        assert not settings.training.temperature_scaling
    assert len(Taxonomy.load(config.settings["taxonomy"]))
    assert config.settings_of("source", setting, {}).training.lambda_xm == 0  # source only


PUBLISHED = {
    "usa_singapore": "58.4/62.8/68.2 64.4/63.2/69.4 67.0/65.4/71.2 70.0/65.6/72.3 71.7/65.6/72.3 75.4/76.0/79.6",
    "day_night": "47.8/68.8/63.3 55.5/69.2/67.4 57.6/69.6/64.4 60.6/70.5/66.5 68.9/70.3/71.8 61.5/69.8/69.2",
    "vkitti_semantickitti": "26.8/42.0/42.2 42.1/46.7/48.2 45.8/51.4/52.0 57.2/52.0/61.0 52.9/51.2/57.8 66.3/78.4/80.1",
    "a2d2_semantickitti": "34.2/35.9/40.4 38.3/46.0/44.0 41.2/49.8/47.5 45.0/52.3/50.0 51.4/49.7/54.8 59.3/71.9/73.6",
}
ROWS = (
    *(("source only", "source"), ("xMUDA", "xmuda"), ("xMUDA + PL", "student_selected"), ("VFMSeg (SAM + SEEM)", "")),
    *(("FtD++ + PL", ""), ("oracle", "oracle")),
)


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_published_figures_stand_beside_their_stages(name):
    published = load_benchmark(name).published
    assert [(row.name, row.stage) for row in published] == list(ROWS)
    assert " ".join("/".join(f"{value:.1f}" for value in row.miou) for row in published) == PUBLISHED[name]


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_the_recipe_to_the_letter(name):
    """xMUDA, journal version: valeoai/xmuda_journal, ``configs`` and ``xmuda/config/xmuda.py``."""
    config, to_kitti = load_benchmark(name), name.endswith("semantickitti")
    for stage in ("source", "xmuda", "student_selected", "student", "oracle"):
        settings = config.settings_of(stage, "uda", {})
        training = settings.training
        between = {"source": (0.0, 0.1), "oracle": (0.0, 0.0 if name == "day_night" else 0.1)}
        expected = between.get(stage, (0.1, 0.01) if to_kitti else (1.0, 0.1))
        assert (training.lambda_xm, training.lambda_xm_target, training.lambda_pl) == (*expected, 1.0), stage
        assert (training.encoder_weights, training.encoder_rate) == ("imagenet", 1.0)
        assert (training.batch_size, training.learning_rate, training.schedule) == (8, 1e-3, "milestones")
        falls = [share * training.iterations for share in training.milestones]
        ends = (30_000, [25_000, 28_000]) if name == "vkitti_semantickitti" else (100_000, [80_000, 90_000])
        assert (training.iterations, falls) == (ends[0], pytest.approx(ends[1], abs=2))
        augmentation = training.augmentation
        assert (augmentation.rotation_noise, augmentation.color_jitter, augmentation.crop_image) == (0.1, 0.4, 1)
        assert augmentation.max_rotation == pytest.approx(np.pi, abs=0.01)
        selection = settings.pseudo_labels.selection
        assert (selection.quantile, selection.cap, selection.require_agreement) == (0.5, 0.9, False)
        assert (settings.segmenter.fusion, settings.segmenter.precision) == ("mean", "float32")
        assert settings.masks.generator == "sam"
    assert config.student_labels == {"uda": "branches", "source_free": "fused"}
    assert config.oracle_with_source == (name == "day_night")
    kitti, small = ("whole", "480x302", 0), ("400x225", "", 0)
    sizes = {
        "vkitti_semantickitti": (("whole", "480x302", 10_000), kitti),
        "a2d2_semantickitti": (("480x302", "", 0), kitti),
    }.get(name, (small, small))
    assert tuple((each.image, each.crop, each.max_points) for each in (config.source, config.target)) == sizes


def test_the_network_to_the_letter():
    network = load_architecture("paper")
    assert (network.encoder, network.first_stride, network.image_dropout) == ("tu-resnet34.tv_in1k", 1, 0.4)
    assert (network.image_mean, network.image_std, network.decoder_channels[-1]) == ([0.0] * 3, [1.0] * 3, 64)
    assert (network.point_width, network.point_levels, network.point_features, network.point_inputs) == (
        *(16, 7, "constant"),
        [],
    )
    assert (network.voxel_size, network.voxel_extent) == (0.05, 4096)


def test_overrides_win_over_the_stage_and_the_stage_over_the_rest(tmp_path):
    config = load_benchmark("usa_singapore")
    assert config.settings_of("source", "uda", {"training.lambda_xm": 0.5}).training.lambda_xm == 0.5
    assert config.settings_of("student", "source_free", {}).training.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("", "target"),
        ("target: {dataset: a, train: b, tset: c}\n", r"target\.tset"),
        ("target: {dataset: a, train: b}\nstages: {student: {training: {lr: 1}}}\n", r"stages: training\.lr"),
        ("target: {dataset: a, train: b}\npublished: [{name: x, miou: [1]}]\n", r"published\.0\.miou"),
    ],
)
def test_what_does_not_fit_is_named_with_the_file(tmp_path, more, named):
    path = tmp_path / "mine.yaml"
    path.write_text("title: x\nsource: {dataset: a, train: b}\n" + more)
    with pytest.raises(ConfigError, match=rf"mine\.yaml: .*{named}"):
        load_benchmark(str(path))


def test_a_benchmark_that_is_not_there_names_those_that_are():
    with pytest.raises(ConfigError, match=r"benchmark: singapore not found.*usa_singapore"):
        load_benchmark("singapore")
