"""What is in a bag, which of our roles it has, and what its first frames lack."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from sam_adapt_ros.bags.message_reader import MessageReader
from sam_adapt_ros.bags.reader import BagReader
from sam_adapt_ros.bags.topic_roles import find_topic_roles
from sam_adapt_ros.config import Config
from sam_adapt_ros.messages.calibration_file import CALIBRATION_FILE

_FRAMES_TRIED = 3


@dataclass(frozen=True)
class TopicInfo:
    """rate: messages a second over the bag's duration; 0 where there are fewer than two."""

    name: str
    msgtype: str
    count: int
    rate: float
    transient_local: bool


@dataclass(frozen=True)
class BagInfo:
    """What ``sam-adapt info`` shows.

    kind: ``rosbag2 mcap, version 9``, ``ROS 1``, ... size: bytes. duration: seconds.
    found: (part of the configuration, topic, type). missing: roles that are not there, and what the first frames
    lack, one line each. frames: sweeps in the bag, one frame each. usable: whether the first frames could be made.
    calibration: whether the bag carries a calibration file.
    """

    path: Path
    kind: str
    size: int
    start_ns: int
    duration: float
    messages: int
    topics: list[TopicInfo]
    found: list[tuple[str, str, str]]
    missing: list[str]
    frames: int
    usable: bool
    calibration: bool = field(default=False)


def bag_info(path: str | Path, config: Config) -> BagInfo:
    """Reads the bag's index, and its first frames for a trial. Raises BagError when the bag cannot be read."""
    path = Path(path)
    with MessageReader(path) as source:
        topics, start_ns, end_ns = source.topics, source.start_ns, source.end_ns
    duration = (end_ns - start_ns) / 1e9
    roles = find_topic_roles(topics, config)
    missing = list(roles.missing)
    usable = not roles.errors
    if usable:
        trial, usable = _try_frames(path, config)
        missing += trial
    files = [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]
    return BagInfo(
        path=path,
        kind=_kind(path),
        size=sum(file.stat().st_size for file in files),
        start_ns=start_ns,
        duration=duration,
        messages=sum(topic.count for topic in topics.values()),
        topics=[
            TopicInfo(topic.name, topic.msgtype, topic.count, _rate(topic.count, duration), topic.transient_local)
            for topic in topics.values()
        ],
        found=roles.found,
        missing=missing,
        frames=topics[roles.lidar].count if roles.lidar in topics else 0,
        usable=usable,
        calibration=path.is_dir() and (path / CALIBRATION_FILE).is_file(),
    )


def _try_frames(path: Path, config: Config) -> tuple[list[str], bool]:
    """What the first frames lack, a line each, and whether there was one."""
    with BagReader(path, config) as reader:
        assembled = list(islice(reader.assembled(), _FRAMES_TRIED))
        lines = [f"sweeps dropped: {reason} ({count})" for reason, count in reader.counts.dropped.items()]
    details: dict[str, str] = {}
    for one in assembled:
        for name, reason in one.warnings.items():
            details.setdefault(f"{name}: {reason}", one.details.get(name, ""))
        for name, reason in one.dropped.items():
            details.setdefault(f"{name}: left out, {reason}", one.details.get(name, ""))
    lines += [f"{what} ({detail})" if detail else what for what, detail in details.items()]
    return lines, bool(assembled)


def _rate(count: int, duration: float) -> float:
    return (count - 1) / duration if count > 1 and duration > 0 else 0.0


def _kind(path: Path) -> str:
    if path.suffix == ".bag":
        return "ROS 1"
    if path.is_file():
        return f"rosbag2 {path.suffix[1:]} file"
    metadata: dict[str, Any] = yaml.safe_load((path / "metadata.yaml").read_text(encoding="utf-8"))
    content = metadata["rosbag2_bagfile_information"]
    return f"rosbag2 {content['storage_identifier']}, version {content['version']}"
