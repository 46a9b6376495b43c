"""A benchmark: source and target, what differs from stage to stage, and the published figures to compare with.

One YAML file a benchmark in ``config/benchmarks``. It is no part of the nodes' parameters.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from sam_adapt_ros import resources
from sam_adapt_ros.config.parameter_file import flatten
from sam_adapt_ros.config.root import Config, load_recipe
from sam_adapt_ros.config.ros_yaml import read_yaml
from sam_adapt_ros.config.section import FilePath, Section
from sam_adapt_ros.config.training import RecipeConfig
from sam_adapt_ros.errors import ConfigError, describe_validation

FOLDER = "config/benchmarks"
Setting = Literal["uda", "source_free"]
"""uda: unsupervised domain adaptation, which learns from source and target together. source_free: the source's data is
not at hand any more when the target is adapted to."""


class DomainConfig(RecipeConfig):
    """The data set of a domain, and the splits that a benchmark uses: names, or parts of them such as ``all[:26]``."""

    dataset: str = Field(description="Name of the data set")
    cameras: list[str] = Field([], description="Whose images are used; empty: all")
    train: str = Field(description="Split that is learned from")
    test: str = Field("", description="Split that is measured on")


class PublishedConfig(Section):
    """A row of published figures."""

    name: str = Field(description="Of the method")
    stage: str = Field("", description="The stage beside which it stands; empty: another method, beside the student")
    miou: list[float | None] = Field(min_length=3, max_length=3, description="2D, 3D, xM [%]")


class BenchmarkConfig(Section):
    """A benchmark file."""

    title: str
    source: DomainConfig
    target: DomainConfig
    recipe: FilePath = Field("xmuda", description="config/recipes/<name>.yaml or a YAML file, before ``settings``")
    settings: dict[str, Any] = Field({}, description="Of the configuration, for all stages")
    stages: dict[str, dict[str, Any]] = Field({}, description="Settings by stage")
    source_free: dict[str, dict[str, Any]] = Field({}, description="Settings by stage, without source data")
    student_labels: dict[Setting, Literal["branches", "fused"]] = Field(
        {}, description="Whose selected predictions teach: each branch's its own (as in xMUDA), or the fused ones' both"
    )
    oracle_with_source: bool = Field(False, description="Whether the oracle is also trained on the source")
    published: list[PublishedConfig] = Field([], description="Figures to compare with")
    published_by: str = Field("", description="Where the published figures are from")

    @field_validator("settings", "stages", "source_free", mode="after")
    @classmethod
    def _known(cls, values: dict[str, Any], info: Any) -> dict[str, Any]:
        """A typing slip in a stage's settings shows when the file is read, not when the stage is reached."""
        for each in [values] if info.field_name == "settings" else values.values():
            try:
                Config.from_flat(flatten(each))
            except ConfigError as error:
                raise ValueError(str(error).partition(": ")[2]) from None
        return values

    def settings_of(self, stage: str, setting: Setting, overrides: dict[str, Any]) -> Config:
        """The configuration of a stage. overrides: dotted names -> values, before which all others give way.

        Raises ConfigError that names what does not fit.
        """
        values = load_recipe(self.recipe) | flatten(self.settings) | flatten(self.stages.get(stage, {}))
        if setting == "source_free":
            values |= flatten(self.source_free.get(stage, {}))
        return Config.from_flat(values | overrides, f"benchmark, stage {stage}")


def load_benchmark(name: str) -> BenchmarkConfig:
    """``config/benchmarks/<name>.yaml``, or a YAML file. Raises ConfigError that names the file and the field."""
    try:
        path = resources.find(name, FOLDER)
    except FileNotFoundError as error:
        raise ConfigError(f"benchmark: {error}") from None
    try:
        return BenchmarkConfig.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe_validation(error)}") from None
