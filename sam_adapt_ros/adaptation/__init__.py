"""Learning while driving: the frame buffer and the weight store."""

from sam_adapt_ros.adaptation.buffer import FrameBuffer, FrameSequence
from sam_adapt_ros.adaptation.follower import StoreFollower
from sam_adapt_ros.adaptation.frame_summary import FrameSummary, summarize
from sam_adapt_ros.adaptation.store import WeightStore
from sam_adapt_ros.adaptation.store_reader import StoreReader
from sam_adapt_ros.adaptation.version import Record, Version

__all__ = [
    "FrameBuffer",
    "FrameSequence",
    "FrameSummary",
    "Record",
    "StoreFollower",
    "StoreReader",
    "Version",
    "WeightStore",
    "summarize",
]
