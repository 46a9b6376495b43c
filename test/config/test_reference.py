"""The parameter reference: complete, true to the schema, and the file that ships is up to date."""

from pathlib import Path

import pytest

from sam_adapt_ros import resources
from sam_adapt_ros.config import Config, reference
from sam_adapt_ros.errors import ConfigError

EVERY = [parameter for group in reference.groups() for parameter in group.parameters]


def test_the_shipped_reference_is_the_schemas() -> None:
    reference.check(resources.share_directory() / "docs" / "parameters.md")


def test_every_parameter_is_in_it_with_its_default_and_a_meaning() -> None:
    names = [parameter.name for parameter in EVERY]
    flat = Config().to_flat()
    assert [name for name in names if reference.NAME not in name] == [name for name in names if name in flat]
    assert set(flat) <= set(names)
    for parameter in EVERY:
        assert parameter.description, parameter.name
        assert parameter.default == flat.get(parameter.name, parameter.default), parameter.name


@pytest.mark.parametrize(
    ("name", "type", "default", "range", "limits"),
    [
        ("cameras.CAM_FRONT.image", "str", None, "", None),
        ("segmenter.device", "str", "auto", "auto, cpu or cuda", None),
        ("sync.queue_size", "int", 8, "at least 1", None),
        ("adaptation.resources.nice", "int", 19, "0 to 19", (0, 19)),
        ("adaptation.buffer.held_out", "float", 0.2, "0 to 0.5", (0, 0.5)),
        ("adaptation.self_training.ema_decay", "float", 0.95, "at least 0, less than 1", None),
        ("training.augmentation.sector", "float", 1.0, "more than 0, at most 1", None),
        ("adaptation.self_training.augmentation.sector", "float", 0.25, "more than 0, at most 1", None),
        ("adaptation.rounds.averaging_weights", "list of float", [0.5], "each 0 to 1", None),
        ("training.bags", "list of str", [], "", None),
    ],
)
def test_ranges_are_what_the_schema_checks(name: str, type: str, default: object, range: str, limits: object) -> None:
    found = reference.find_parameter(name)
    assert (found.type, found.default, found.range, found.limits) == (type, default, range, limits)


def test_an_unknown_name_has_no_parameter() -> None:
    for name in ("sync", "sync.queue", "cameras.CAM_FRONT.images", "cameras"):
        with pytest.raises(KeyError):
            reference.find_parameter(name)


def test_where_a_file_differs_is_named(tmp_path: Path) -> None:
    file = tmp_path / "parameters.md"
    with pytest.raises(ConfigError, match=r"parameters\.md: no such file; `make docs`"):
        reference.check(file)
    file.write_text(reference.markdown())
    reference.check(file)
    file.write_text(reference.markdown() + "more\n")
    with pytest.raises(ConfigError, match="expected: the end of the file\n  got: more"):
        reference.check(file)
