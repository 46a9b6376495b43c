"""The benchmark files: those that ship, and what is refused."""

import pytest

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


def test_the_recipe_to_the_letter():
    nuscenes, kitti = load_benchmark("usa_singapore"), load_benchmark("a2d2_semantickitti")
    for config, source, target in ((nuscenes, 1.0, 0.1), (kitti, 0.1, 0.01)):
        training = config.settings_of("xmuda", "uda", {}).training
        assert (training.lambda_xm, training.lambda_xm_target, training.lambda_pl) == (source, target, 1.0)
        assert (training.encoder_weights, training.encoder_rate) == ("imagenet", 1.0)
        assert (training.batch_size, training.iterations, training.learning_rate) == (8, 100_000, 1e-3)
    vkitti = load_benchmark("vkitti_semantickitti")
    assert vkitti.settings_of("xmuda", "uda", {}).training.iterations == 30_000
    falls = [share * 30_000 for share in vkitti.settings_of("xmuda", "uda", {}).training.milestones]
    assert falls == pytest.approx([25_000, 28_000], abs=2)
    assert vkitti.source.max_points == 10_000
    assert (kitti.target.image, kitti.target.crop, kitti.source.image) == ("whole", "480x302", "480x302")
    assert nuscenes.target.image == "400x225"
    assert load_benchmark("day_night").oracle_with_source


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
