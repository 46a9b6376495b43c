"""The configuration that a command line names, or that the bag's topics do."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sam_adapt_ros import cli
from sam_adapt_ros.bags import BagWriter
from sam_adapt_ros.cli import configuration
from sam_adapt_ros.cli.configuration import ground_truth_mismatch, load_config, parse_overrides
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.nodes.launch_arguments import LaunchArguments
from sam_adapt_ros.nodes.tools import launcher

RUNNER = CliRunner()
NUSCENES = {camera.image for camera in Config.load("nuscenes").cameras.values()} | {
    "/LIDAR_TOP",
    "/ground_truth/labels",
}


@pytest.fixture(scope="module")
def odd_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag that no preset knows."""
    path = tmp_path_factory.mktemp("odd") / "odd"
    with BagWriter(path) as writer:
        writer.write_tf_static(1, [])
    return path


def test_overrides_are_yaml_values() -> None:
    assert parse_overrides(["a.b=3", "c=[1, 2]", "d=x=y", "e="]) == {"a.b": 3, "c": [1, 2], "d": "x=y", "e": ""}
    as_in_files = parse_overrides(["a=on", "b=12:30", "c=2024-01-02", "d=1e-3", "e=010"])
    assert as_in_files == {"a": True, "b": "12:30", "c": "2024-01-02", "d": 1e-3, "e": 8}
    assert parse_overrides(["a={b: 1, c.d: x}", "e={}"]) == {"a.b": 1, "a.c.d": "x", "e": {}}


@pytest.mark.parametrize(
    "override", ["a.b", "=3", "", "a=@x", "a=[", "a={b", "a=*x", "a=!!python/object:os.x", "a='", "a=%"]
)
def test_what_is_no_override_is_named(override: str) -> None:
    with pytest.raises(ConfigError, match=f"^--set {re.escape(override)}: (name=value expected|the value is not YAML)"):
        parse_overrides([override])


def test_a_section_in_an_override_keeps_the_files_other_values() -> None:
    config = load_config("town", ["cameras={CAM_FRONT: {time_offset: 0.5}}"])
    assert config.cameras["CAM_FRONT"] == Config.load("town").cameras["CAM_FRONT"].model_copy(
        update={"time_offset": 0.5}
    )


def test_what_is_wrong_is_named_the_file_or_the_option(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("segmenter: {weights: x}\n")
    with pytest.raises(ConfigError, match=r"^overrides \(--set\): segmenter\.devic: "):
        load_config(str(file), ["segmenter.devic=cpu"])
    file.write_text("segmenter: {wights: x}\n")
    with pytest.raises(ConfigError, match=rf"^{file}: segmenter\.wights: "):
        load_config(str(file), ["segmenter.device=cpu"])


def test_mode_and_overrides_take_precedence_over_the_recipe() -> None:
    config = load_config("town", ["pseudo_labels.enhancement.propagation=gapp"], "direct", "observe")
    assert config.adaptation.mode == "observe"
    assert config.pseudo_labels.enhancement.propagation == "gapp"
    assert load_config("town", recipe="direct").pseudo_labels.enhancement.propagation == "direct"


def test_a_bag_tells_which_preset_fits_it(night_bag: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load_config("auto", bags=[night_bag]) == Config.load("town")
    assert "preset town: found from the bag's topics; -c chooses another" in capsys.readouterr().out


def test_simulated_drives_are_the_towns() -> None:
    assert load_config("auto") == Config.load("town")


def test_a_bag_that_no_preset_fits_is_listed(odd_bag: Path) -> None:
    with pytest.raises(ConfigError, match=r"odd: none of the presets town, nuscenes, kitti .* /tf_static \(tf2_msgs"):
        load_config("auto", bags=[odd_bag])


def test_bags_of_different_vehicles_are_named(night_bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {night_bag: {"town": ""}, Path("scene"): {"nuscenes": ""}}
    monkeypatch.setattr(configuration, "read_topics", kinds.__getitem__)
    monkeypatch.setattr(configuration, "find_preset", lambda topics: next(iter(topics)))
    with pytest.raises(ConfigError, match=r"different presets \(.*night: town, scene: nuscenes\)"):
        load_config("auto", bags=list(kinds))


@pytest.mark.parametrize("command", ["replay", "evaluate", "pseudo-label", "ablate"])
def test_labels_are_not_judged_as_classes_that_they_are_not(night_bag: Path, command: str) -> None:
    result = RUNNER.invoke(cli.app, [command, str(night_bag), "-c", "nuscenes"])
    assert isinstance(result.exception, ConfigError)
    assert "through the mapping nuscenes_lidarseg: IoU would compare different classes. Use -c town" in str(
        result.exception
    )


def test_info_warns_of_labels_that_would_be_misread(night_bag: Path) -> None:
    result = RUNNER.invoke(cli.app, ["info", str(night_bag), "-c", "nuscenes"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "missing: cameras.CAM_BACK" in result.output
    assert "warning: the ids of its true labels" in result.output


def test_labels_that_may_be_right_are_left_to_the_user(night_bag: Path) -> None:
    town = configuration.read_topics(night_bag)
    own = {"ground_truth.mapping": "my_mapping"}
    unread = {"ground_truth.mapping": "nuscenes_lidarseg", "ground_truth.topic": ""}
    for fitting in ({}, own, unread):
        assert ground_truth_mismatch(Config.load("town", fitting), town) == ""
    assert "as classes of nuscenes6" in ground_truth_mismatch(Config.load("town", {"taxonomy": "nuscenes6"}), town)
    assert ground_truth_mismatch(Config.load("nuscenes"), NUSCENES) == ""
    assert ground_truth_mismatch(Config.load("nuscenes", {"taxonomy": "nuscenes16"}), NUSCENES) == ""
    assert "as classes of town" in ground_truth_mismatch(Config.load("town"), NUSCENES)


def test_live_sensors_need_a_configuration(night_bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = RUNNER.invoke(cli.app, ["run"])
    assert result.exit_code == 2
    assert "name a preset or a YAML file" in result.output
    started = []
    monkeypatch.setattr(launcher, "run", lambda arguments, overrides, **options: started.append(arguments) or 0)
    assert RUNNER.invoke(cli.app, ["run", "--bag", str(night_bag)]).exit_code == 0
    assert started == [LaunchArguments(params_file="town", bag=str(night_bag))]
