"""What the names and paths mean that users give: a name is the package's, a path is the user's."""

import os
from pathlib import Path

import pytest

from sam_adapt_ros import resources
from sam_adapt_ros.config import Config, find_configuration, find_weights, load_architecture, load_recipe
from sam_adapt_ros.errors import ConfigError, TaxonomyError
from sam_adapt_ros.resources import expand_home, user_folder
from sam_adapt_ros.taxonomy import Taxonomy

SHARE = resources.share_directory()


@pytest.fixture
def crowded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with files, and a folder, of the names that the package uses."""
    for name in ("town", "direct", "small", "nuscenes6", "kitti"):
        (tmp_path / f"{name}.yaml").write_text("mine: true\n")
    (tmp_path / "town_small.safetensors").write_text("mine")
    (tmp_path / "town_small").write_text("mine")
    (tmp_path / "nuscenes").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_name_is_the_packages_whatever_the_working_folder_holds(crowded: Path) -> None:
    assert find_configuration("town") == SHARE / "config" / "town.yaml"
    assert find_configuration("nuscenes") == SHARE / "config" / "nuscenes.yaml"
    assert load_recipe("direct") == {"pseudo_labels.enhancement.propagation": "direct"}
    assert load_architecture("small").encoder == "tu-efficientnet_lite0"
    assert Taxonomy.load("nuscenes6").name == "nuscenes6"
    assert find_weights("town_small") == SHARE / "resource" / "town_small.safetensors"
    assert find_weights(Config.load("town").segmenter.weights) == SHARE / "resource" / "town_small.safetensors"


@pytest.mark.parametrize("path", ["town.yaml", "./town.yaml", "./town", "../{folder}/town.yaml"])
def test_a_path_is_the_users(crowded: Path, path: str) -> None:
    found = find_configuration(path.format(folder=crowded.name))
    assert found.resolve() == crowded / "town.yaml"


def test_a_file_name_that_the_working_folder_lacks_is_the_packages(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_configuration("train_town.yaml") == SHARE / "config" / "train_town.yaml"
    assert find_weights("town_small.safetensors") == SHARE / "resource" / "town_small.safetensors"


def test_weights_need_no_suffix_where_a_path_is_given(crowded: Path) -> None:
    assert find_weights("./town_small") == Path("town_small")
    assert find_weights(str(crowded / "town_small")) == crowded / "town_small"


def test_an_unknown_name_tells_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("{}")
    with pytest.raises(
        ConfigError, match=r"^configuration: mine not found; .* has a2d2, kitti, nuscenes, .* its path, such as \./my"
    ):
        find_configuration("mine")
    with pytest.raises(TaxonomyError, match=r"^taxonomy: mine not found; .* nuscenes6"):
        Taxonomy.load("mine")
    with pytest.raises(ConfigError, match=r"^segmenter.weights: mine not found; .* has town_small; .*my.safetensors"):
        find_weights("mine")
    with pytest.raises(ConfigError, match=r"looked at: a/b\.yaml"):
        find_configuration("./a/b.yaml")


def test_every_path_of_the_schema_knows_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/user")
    paths = {
        "taxonomy": "~/x.yaml",
        "transforms.calibration_file": "~/x",
        "segmenter.weights": "~/x",
        "training.bags": ["~/x", "./y"],
        "training.validation_bags": ["~/x"],
        "training.architecture": "~/x.yaml",
        "training.output": "~/x",
        "training.encoder_weights": "~/x",
        "training.initial_weights": "~/x",
        "training.data.x.roots": ["~/x"],
        "masks.cache": "~/x",
        "masks.sam.checkpoint": "~/x",
        "adaptation.store.folder": "~/x",
        "adaptation.source.bags": ["~/x"],
        "adaptation.source.config": "~/x.yaml",
    }
    expanded = Config.from_flat(paths).to_flat()
    assert "~" not in str([expanded[name] for name in paths])
    assert expanded["training.bags"] == ["/home/user/x", "./y"]
    # A parameter that holds a path by its description, and is not among these, is one that was forgotten.
    schema = Config.model_json_schema()
    described = [
        field.get("description", "")
        for section in [schema, *schema["$defs"].values()]
        for field in section["properties"].values()
    ]
    mentioned = [text for text in described if any(word in text.lower() for word in ("file", "folder", "bags with"))]
    assert len(mentioned) == len(paths), mentioned


def test_a_home_folder_that_is_not_known_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(ConfigError, match=r"^~nobody/x: the home folder ~nobody is not known; give the path without"):
        Config.from_flat({"training.output": "~nobody/x"})
    assert expand_home("./~/x") == "./~/x"


def test_folders_of_the_user_need_a_home_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.delenv("ROS_HOME", raising=False)
    assert user_folder("ROS_HOME", ".ros") == Path("/home/user/.ros")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(ConfigError, match=r"^no home folder is known: set HOME, or ROS_HOME to a folder"):
        user_folder("ROS_HOME", ".ros")
    monkeypatch.setenv("ROS_HOME", str(tmp_path))
    assert user_folder("ROS_HOME", ".ros") == tmp_path
