"""Bag -> frames, frames -> bag, and data-set converters, one file each."""

from sam_adapt_ros.bags.writer import BagWriter

__all__ = ["BagWriter"]
