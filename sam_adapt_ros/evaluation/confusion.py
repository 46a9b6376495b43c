"""Confusion matrix and intersection over union; training validates with the same class."""

from sam_adapt_ros.segmentation.confusion import Confusion

__all__ = ["Confusion"]
