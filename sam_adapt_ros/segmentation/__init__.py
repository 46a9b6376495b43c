"""Both branches, their fusion, weights files and supervised training."""

from sam_adapt_ros.segmentation.segmenter import Prediction, Segmenter, load_segmenter

__all__ = ["Prediction", "Segmenter", "load_segmenter"]
