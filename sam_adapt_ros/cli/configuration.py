"""The configuration of a command: a preset or a YAML file, found from the bag's topics where none is named."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import yaml

from sam_adapt_ros.cli.console import say
from sam_adapt_ros.config import NAMED_PRESETS, PRESETS, Config, find_preset, flatten, load_recipe
from sam_adapt_ros.config.ros_yaml import parse_yaml
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.taxonomy import Taxonomy

AUTO = "auto"
SIMULATED = "town"
"""The preset of drives that the simulator renders."""


def load_config(
    name: str, overrides: Sequence[str] = (), recipe: str = "", mode: str | None = None, bags: Sequence[Path] = ()
) -> Config:
    """The configuration that a command line names.

    Args:
        name: a preset, a YAML file, or ``auto``: the preset that fits the topics of ``bags``; without bags, that of
            simulated drives.
        overrides: ``name=value`` each.
        recipe: a file of ``config/recipes`` or a YAML file.
        mode: of adaptation.
        bags: what the command reads.

    Raises:
        ConfigError: when no preset fits, the values do not fit the schema, or the true labels of a bag would be read
            as other classes than they are.
    """
    if name == AUTO:
        name = choose_preset(bags) if bags else SIMULATED
    values = load_recipe(recipe) if recipe else {}
    values |= parse_overrides(overrides)
    if mode:
        values["adaptation.mode"] = mode
    config = Config.load(name, values)
    for bag in bags:
        if mismatch := ground_truth_mismatch(config, read_topics(bag)):
            raise ConfigError(f"{bag}: {mismatch}")
    return config


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """``name=value`` -> dotted names and values, in the YAML of parameter files; nothing after ``=`` is the empty text.

    Raises ConfigError that names the option."""
    values: dict[str, Any] = {}
    for override in overrides:
        parameter, separator, text = override.partition("=")
        if not separator or not parameter:
            raise ConfigError(f"--set {override}: name=value expected")
        try:
            value = parse_yaml(text) if text else ""
        except yaml.YAMLError as error:
            reason = getattr(error, "problem", None) or str(error).splitlines()[0]
            raise ConfigError(
                f"--set {override}: the value is not YAML ({reason}); text with such characters is quoted twice: "
                f"-s '{parameter}=\"...\"'"
            ) from None
        values |= flatten({parameter: value}) or {parameter: value}  # a section as a whole is merged
    return values


def choose_preset(bags: Sequence[Path]) -> str:
    """The preset that fits the topics of all bags. Raises ConfigError when there is none."""
    found: dict[Path, str] = {}
    for bag in bags:
        topics = read_topics(bag)
        preset = find_preset(topics)
        if preset is None:
            listed = ", ".join(f"{topic} ({kind})" for topic, kind in topics.items())
            raise ConfigError(
                f"{bag}: none of the presets {', '.join(PRESETS)} fits its topics; name one (also "
                f"{', '.join(NAMED_PRESETS)}), or a YAML file with your topics, by -c. The bag has: {listed}"
            )
        found[bag] = preset
    if len(set(found.values())) > 1:
        fits = ", ".join(f"{bag}: {preset}" for bag, preset in found.items())
        raise ConfigError(f"the bags fit different presets ({fits}); name one by -c, or give bags of one kind")
    preset = next(iter(found.values()))
    say(f"preset {preset}: found from the bag's topics; -c chooses another")
    return preset


def read_topics(bag: Path) -> dict[str, str]:
    """Topic -> message type. Raises BagError when the bag cannot be read."""
    from sam_adapt_ros.bags import MessageReader

    with MessageReader(bag) as reader:
        return {topic.name: topic.msgtype for topic in reader.topics.values()}


def ground_truth_mismatch(config: Config, topics: Collection[str]) -> str:
    """Why the bag's true labels would be read as other classes than they are; "" where nothing speaks for it.

    A preset that fits the bag knows what its label ids mean. A mapping that no preset uses is the user's own.
    """
    preset = find_preset(topics)
    if preset is None or config.ground_truth.topic not in topics:
        return ""
    fitting, mapping = Config.load(preset), config.ground_truth.mapping
    if mapping == fitting.ground_truth.mapping:
        if mapping or not (config.taxonomy and fitting.taxonomy):
            return ""
        if Taxonomy.load(config.taxonomy).classes == Taxonomy.load(fitting.taxonomy).classes:
            return ""
    elif mapping and mapping not in {Config.load(name).ground_truth.mapping for name in PRESETS}:
        return ""
    read_as = f"through the mapping {mapping}" if mapping else f"as classes of {config.taxonomy or 'the weights'}"
    return (
        f"the ids of its true labels on {config.ground_truth.topic} are those of preset {preset}, and this "
        f"configuration reads them {read_as}: IoU would compare different classes. Use -c {preset}, or leave the true "
        "labels unread by -s 'ground_truth.topic=\"\"'"
    )
