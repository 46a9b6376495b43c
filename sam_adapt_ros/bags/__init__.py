"""Bag -> messages and frames; messages -> bag. Without ROS."""

from sam_adapt_ros.bags.info import BagInfo, bag_info
from sam_adapt_ros.bags.message_reader import MessageReader, RawMessage, Topic
from sam_adapt_ros.bags.message_writer import MessageWriter, Storage, Version
from sam_adapt_ros.bags.reader import BagReader, Counts
from sam_adapt_ros.bags.unpacked_files import remove_unpacked
from sam_adapt_ros.bags.writer import BagWriter

__all__ = [
    "BagInfo",
    "BagReader",
    "BagWriter",
    "Counts",
    "MessageReader",
    "MessageWriter",
    "RawMessage",
    "Storage",
    "Topic",
    "Version",
    "bag_info",
    "remove_unpacked",
]
