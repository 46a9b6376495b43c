"""Learning while driving: the frame buffer and the weight store."""

from sam_adapt_ros.adaptation.buffer.frame_buffer import FrameBuffer
from sam_adapt_ros.adaptation.buffer.frame_sequence import FrameSequence
from sam_adapt_ros.adaptation.buffer.frame_summary import FrameSummary, summarize
from sam_adapt_ros.adaptation.weight_store.store import WeightStore
from sam_adapt_ros.adaptation.weight_store.store_reader import StoreReader
from sam_adapt_ros.adaptation.weight_store.version import Record, Version
from sam_adapt_ros.adaptation.weight_store.watcher import StoreWatcher

__all__ = [
    "FrameBuffer",
    "FrameSequence",
    "FrameSummary",
    "Record",
    "StoreReader",
    "StoreWatcher",
    "Version",
    "WeightStore",
    "summarize",
]
