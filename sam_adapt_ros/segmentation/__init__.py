"""The network with its two branches, their fusion, and weights files."""

from sam_adapt_ros.segmentation.prediction import Prediction
from sam_adapt_ros.segmentation.segmenter import Segmenter, load_segmenter

__all__ = ["Prediction", "Segmenter", "load_segmenter"]
