"""The one schema. ROS parameters, YAML files and the command line are three views of it.

Only values that ROS parameters can hold are used (bool, int, float, str and lists of one of them), nested in sections
whose dotted names are the parameter names: ``segmenter.device``, ``cameras.CAM_FRONT.image``. An empty string stands
for "not given". Lengths are metres, times are seconds, angles are radians unless a name specifies another unit.
"""

from sam_adapt_ros.config.adaptation import (
    AdaptationConfig,
    BatchNormConfig,
    BufferConfig,
    DriftConfig,
    GateConfig,
    ResourceConfig,
    RollbackConfig,
    RoundConfig,
    SelfTrainingConfig,
    SourceConfig,
    StoreConfig,
)
from sam_adapt_ros.config.fabric import FabricConfig
from sam_adapt_ros.config.masks import MaskConfig, RegionsConfig, SamConfig, SamLidarConfig, SegmentsConfig
from sam_adapt_ros.config.parameter_file import ParameterFile, flatten
from sam_adapt_ros.config.presets import NAMED_PRESETS, PRESETS, find_preset
from sam_adapt_ros.config.pseudo_labels import EnhancementConfig, PseudoLabelConfig, SelectionConfig, VisibilityConfig
from sam_adapt_ros.config.root import Config, find_configuration, find_weights, load_architecture, load_recipe
from sam_adapt_ros.config.section import FilePath, Section
from sam_adapt_ros.config.segmentation import ArchitectureConfig, SegmenterConfig
from sam_adapt_ros.config.sensors import CameraConfig, GroundTruthConfig, LidarConfig, SyncConfig, TransformConfig
from sam_adapt_ros.config.training import AugmentationConfig, DataConfig, RecipeConfig, TrainingConfig

__all__ = [
    "NAMED_PRESETS",
    "PRESETS",
    "AdaptationConfig",
    "ArchitectureConfig",
    "AugmentationConfig",
    "BatchNormConfig",
    "BufferConfig",
    "CameraConfig",
    "Config",
    "DataConfig",
    "DriftConfig",
    "EnhancementConfig",
    "FabricConfig",
    "FilePath",
    "GateConfig",
    "GroundTruthConfig",
    "LidarConfig",
    "MaskConfig",
    "ParameterFile",
    "PseudoLabelConfig",
    "RecipeConfig",
    "RegionsConfig",
    "ResourceConfig",
    "RollbackConfig",
    "RoundConfig",
    "SamConfig",
    "SamLidarConfig",
    "Section",
    "SegmenterConfig",
    "SegmentsConfig",
    "SelectionConfig",
    "SelfTrainingConfig",
    "SourceConfig",
    "StoreConfig",
    "SyncConfig",
    "TrainingConfig",
    "TransformConfig",
    "VisibilityConfig",
    "find_configuration",
    "find_preset",
    "find_weights",
    "flatten",
    "load_architecture",
    "load_recipe",
]
