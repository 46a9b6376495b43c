"""The network that a training run starts from: a new one, whose encoder may have learned before, or a trained one."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from torch import Tensor

from sam_adapt_ros.config import ArchitectureConfig, TrainingConfig, find_weights
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.encoder_weights import load_encoder_weights
from sam_adapt_ros.segmentation.image_branch import ImageBranch
from sam_adapt_ros.segmentation.networks import build
from sam_adapt_ros.segmentation.segmentation_network import SegmentationNetwork
from sam_adapt_ros.segmentation.weights import Weights
from sam_adapt_ros.taxonomy import Taxonomy

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class InitialNetwork:
    """network: on the CPU. pretrained: its parameters that learned another task. weights: that it was trained to."""

    network: SegmentationNetwork
    pretrained: list[Tensor]
    weights: Weights | None = None

    @classmethod
    def build(cls, config: TrainingConfig, taxonomy: Taxonomy, architecture: ArchitectureConfig) -> InitialNetwork:
        """By ``initial_weights``, else by ``encoder_weights``.

        Raises ConfigError, and WeightsError for weights that are damaged or of another network.
        """
        network = build(len(taxonomy), architecture)
        if config.initial_weights:
            path = find_weights(config.initial_weights)
            weights = weights_files.load(path)
            weights_files.check_taxonomy(path, weights, taxonomy)
            weights_files.check_architecture(path, weights.architecture, architecture)
            network.load_state_dict(dict(weights.state))
            return cls(network, [], weights)
        image = getattr(network, "image", None)
        if not config.encoder_weights:
            logger.warning("training starts from random weights: training.encoder_weights names none for the encoder")
            return cls(network, [])
        if not isinstance(image, ImageBranch):
            raise ConfigError("training.encoder_weights: the network has no image branch of the package's")
        load_encoder_weights(image, architecture.encoder, config.encoder_weights)
        return cls(network, list(image.encoder.parameters()))
