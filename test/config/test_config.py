"""The one schema: YAML files, ROS parameters and overrides are views of it."""

from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sam_adapt_ros import resources
from sam_adapt_ros.config import NAMED_PRESETS, PRESETS, ArchitectureConfig, Config, Section, flatten, load_recipe
from sam_adapt_ros.errors import ConfigError

RECIPES = resources.share_directory() / "config" / "recipes"


@pytest.mark.parametrize("preset", (*PRESETS, *NAMED_PRESETS))
def test_presets_load_and_survive_the_flat_form(preset: str) -> None:
    config = Config.load(preset)
    assert config.cameras
    assert Config.from_flat(config.to_flat()) == config


@pytest.mark.parametrize("preset", (*PRESETS, *NAMED_PRESETS))
def test_presets_are_ros_parameter_files(preset: str) -> None:
    data = yaml.safe_load(resources.find(f"{preset}.yaml", "config").read_text())
    assert list(data) == ["/**"]
    assert list(data["/**"]) == ["ros__parameters"]


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_recipes_fit_the_schema(recipe: str) -> None:
    values = load_recipe(recipe)
    config = Config.load("town", values)
    assert all(config.to_flat()[name] == value for name, value in values.items())


def test_the_default_recipe_is_the_defaults() -> None:
    assert Config.load("town", load_recipe("default")) == Config.load("town")


def test_every_value_can_be_a_ros_parameter() -> None:
    for name, value in Config.load("nuscenes").to_flat().items():
        values = value if isinstance(value, list) else [value]
        assert all(isinstance(v, bool | int | float | str) for v in values), name
        assert len({type(v) for v in values}) <= 1, name


def test_every_parameter_is_described() -> None:
    def check(section: type[Section], prefix: str) -> None:
        assert section.__doc__ and section.__doc__ != Section.__doc__, section
        for name, field in section.model_fields.items():
            types = [field.annotation, *get_args(field.annotation)]
            inner = [each for each in types if isinstance(each, type) and issubclass(each, Section)]
            for each in inner:
                check(each, f"{prefix}{name}.")
            assert inner or field.description, f"{prefix}{name}"

    check(Config, "")
    check(ArchitectureConfig, "architecture.")


def test_overrides_win(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("segmenter: {device: cpu, threads: 1}\n")
    config = Config.load(file, {"segmenter.threads": 3})
    assert (config.segmenter.device, config.segmenter.threads) == ("cpu", 3)


def test_empty_files_are_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    for text in (
        "",
        "/**: {ros__parameters: {}}",
        "/**: {ros__parameters: }",
        "/**: {ros__parameters: {use_sim_time: true}}",
        "/**:",
        "/**: {ros__parameters: {adaptation: , cameras: , adaptation.buffer: , masks: {}}}",
        "adaptation:\ncameras:\n",
    ):
        file.write_text(text)
        assert Config.load(file) == Config()


def test_updated_values_are_checked() -> None:
    assert Config().updated({"segmenter.threads": 3}).segmenter.threads == 3
    with pytest.raises(ConfigError, match=r"arguments: segmenter\.threads"):
        Config().updated({"segmenter.threads": "many"}, source="arguments")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("taxonomy:", r"mine\.yaml: taxonomy: .* \(got None\)"),
        ("segmenter: {devise: cpu}", r"mine\.yaml: segmenter\.devise: Extra inputs"),
        ("segmenter: {device: tpu}", r"segmenter\.device: .*'tpu'"),
        ("sync: {camera_timeout: -1}", r"sync\.camera_timeout: .*-1"),
        ("cameras: {FRONT: {info: /i}}", r"cameras\.FRONT\.image: Field required"),
        ("- a list", "a mapping expected, got list"),
        ("a: [", "not YAML"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        Config.load(file)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match="nowhere not found"):
        Config.load("nowhere")


def test_a_value_is_not_a_section() -> None:
    with pytest.raises(ConfigError, match="taxonomy is a value"):
        Config.from_flat({"taxonomy": "town", "taxonomy.name": "x"})


names = st.text("abc", min_size=1, max_size=3)


@given(st.recursive(st.integers() | st.text(), lambda inner: st.dictionaries(names, inner, min_size=1), max_leaves=8))
def test_flatten_keeps_every_leaf(tree: object) -> None:
    def leaves(node: object) -> list:
        return [leaf for child in node.values() for leaf in leaves(child)] if isinstance(node, dict) else [node]

    flat = flatten({"root": tree})
    assert list(flat.values()) == leaves(tree)
    assert all(name.startswith("root") for name in flat)
