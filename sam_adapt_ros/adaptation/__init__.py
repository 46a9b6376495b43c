"""Learning while driving: the frame buffer and the weight store."""

from sam_adapt_ros.adaptation.follower import StoreFollower
from sam_adapt_ros.adaptation.store import WeightStore
from sam_adapt_ros.adaptation.store_reader import StoreReader
from sam_adapt_ros.adaptation.version import Record, Version

__all__ = ["Record", "StoreFollower", "StoreReader", "Version", "WeightStore"]
