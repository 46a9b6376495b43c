"""The whole configuration: reading files, recipes and flat names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from sam_adapt_ros import resources
from sam_adapt_ros.config.adaptation import AdaptationConfig
from sam_adapt_ros.config.fabric import FabricConfig
from sam_adapt_ros.config.masks import MaskConfig
from sam_adapt_ros.config.parameter_file import ParameterFile, flatten, is_of_ros
from sam_adapt_ros.config.pseudo_labels import PseudoLabelConfig
from sam_adapt_ros.config.ros_yaml import read_yaml
from sam_adapt_ros.config.section import FilePath, Section
from sam_adapt_ros.config.segmentation import ArchitectureConfig, SegmenterConfig
from sam_adapt_ros.config.sensors import CameraConfig, GroundTruthConfig, LidarConfig, SyncConfig, TransformConfig
from sam_adapt_ros.config.training import TrainingConfig
from sam_adapt_ros.errors import ConfigError, describe_validation


class Config(Section):
    """The whole configuration."""

    taxonomy: FilePath = Field("", description="Class set: a shipped one or a YAML file; empty: that of the weights")
    lidar: LidarConfig = LidarConfig()
    cameras: dict[str, CameraConfig] = Field({})
    transforms: TransformConfig = TransformConfig()
    sync: SyncConfig = SyncConfig()
    ground_truth: GroundTruthConfig = GroundTruthConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    training: TrainingConfig = TrainingConfig()
    fabric: FabricConfig = FabricConfig()
    masks: MaskConfig = MaskConfig()
    pseudo_labels: PseudoLabelConfig = PseudoLabelConfig()
    adaptation: AdaptationConfig = AdaptationConfig()

    @classmethod
    def load(
        cls, name: str | Path, overrides: Mapping[str, Any] | None = None, node: str = "", namespace: str = ""
    ) -> Config:
        """Reads a preset's name (``town``, ``nuscenes``, ``kitti``) or a YAML file, ROS 2 parameter files included.

        Args:
            overrides: dotted name -> value, taking precedence.
            node: whose parameters are read, ``segmenter`` or ``adapter``; "": both nodes', see ``ParameterFile``.
            namespace: of the nodes.
        Raises:
            ConfigError: names the file, or the overrides where these are at fault, and every field that does not fit.
        """
        path = find_configuration(name)
        given = ParameterFile.read(path).parameters(node, namespace)
        values = {name: value for name, value in given.items() if not is_of_ros(name) and not _is_empty(name, value)}
        try:
            return cls.from_flat({**values, **(overrides or {})}, source=str(path))
        except ConfigError:
            cls.from_flat(values, source=str(path)).updated(overrides or {}, source="overrides (--set)")
            raise

    @classmethod
    def from_flat(cls, values: dict[str, Any], source: str = "parameters") -> Config:
        """From dotted names, the form ROS parameters have. Raises ConfigError that names source and fields."""
        nested: dict[str, Any] = {}
        for name, value in values.items():
            *parents, leaf = name.split(".")
            section = nested
            for parent in parents:
                section = section.setdefault(parent, {})
                if not isinstance(section, dict):
                    raise ConfigError(f"{source}: {name}: {parent} is a value, not a section")
            section[leaf] = [] if value == [""] else value  # ROS has no empty list; [""] stands for it
        try:
            return cls.model_validate(nested)
        except ValidationError as error:
            raise ConfigError(f"{source}: {describe_validation(error)}") from None

    def to_flat(self) -> dict[str, Any]:
        """Dotted names -> values: what ``from_flat`` takes and what the nodes declare."""
        return flatten(self.model_dump())

    def updated(self, values: Mapping[str, Any], source: str = "parameters") -> Config:
        """With other values of the given dotted names. Raises ConfigError that names source and fields."""
        return Config.from_flat({**self.to_flat(), **values}, source)


def _is_empty(name: str, value: Any) -> bool:
    """Whether it is a section that gives nothing, such as ``adaptation:`` alone; its defaults hold."""
    if value is not None:
        return False
    return name in ("cameras", "training.data") or any(known.startswith(f"{name}.") for known in Config().to_flat())


def find_configuration(name: str | Path) -> Path:
    """The file of a preset, or of a path to a YAML file. Raises ConfigError that lists the searched places."""
    return _find(name, "config", "configuration")


def find_weights(name: str) -> Path:
    """The package's weights of that name, or the file of that path. Raises ConfigError that lists what was searched."""
    try:
        return resources.find(name, "resource", (".safetensors",))
    except FileNotFoundError as error:
        raise ConfigError(f"segmenter.weights: {error}") from None


def load_recipe(name: str | Path) -> dict[str, Any]:
    """Dotted names -> values of a recipe, that override a configuration: ``config/recipes/<name>.yaml`` or a YAML file.

    Raises ConfigError that names the file.
    """
    return flatten(read_yaml(_find(name, "config/recipes", "recipe")))


def load_architecture(name: str | Path) -> ArchitectureConfig:
    """A network's architecture: ``config/architectures/<name>.yaml`` or a YAML file.

    Raises ConfigError that names the file and every field that does not fit.
    """
    path = _find(name, "config/architectures", "architecture")
    try:
        return ArchitectureConfig.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe_validation(error)}") from None


def _find(name: str | Path, folder: str, kind: str) -> Path:
    try:
        return resources.find(str(name), folder)
    except FileNotFoundError as error:
        raise ConfigError(f"{kind}: {error}") from None
