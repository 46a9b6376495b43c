"""What is in a bag, which of its topics are used, and what its first frames lack."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from sam_adapt_ros.bags.message_reader import MessageReader, Topic
from sam_adapt_ros.bags.reader import BagReader
from sam_adapt_ros.bags.shortfalls import CAMERA_UNUSED, SWEEPS_DROPPED
from sam_adapt_ros.bags.topic_roles import find_topic_roles
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import TaxonomyError
from sam_adapt_ros.messages.vehicle_motion import MOTION_NOTICE, NO_MOTION, POSE_EXTRAPOLATED
from sam_adapt_ros.notices import Notices

_FRAMES_TRIED = 12


@dataclass(frozen=True)
class BagInfo:
    """What ``sam-adapt info`` shows.

    kind: ``rosbag2 mcap, version 9``, ``ROS 1``, ... size: bytes. duration: seconds. messages: of all topics.
    found: (role, topic, type) of the topics that are used. missing: inputs that are not there, and what the first
    frames lack, one line each. notices: what is degraded in the first frames. frames: sweeps in the bag, one frame
    each. usable: whether the first frames could be made.
    """

    path: Path
    kind: str
    size: int
    duration: float
    messages: int
    topics: list[Topic]
    found: list[tuple[str, str, str]]
    missing: list[str]
    notices: list[str]
    frames: int
    usable: bool

    def rate(self, topic: Topic) -> float:
        """Messages per second over the bag's duration; 0 where there are fewer than two."""
        return (topic.count - 1) / self.duration if topic.count > 1 and self.duration > 0 else 0.0


def bag_info(path: str | Path, config: Config) -> BagInfo:
    """Reads the bag's index, and tries its first frames. Raises BagError when the bag cannot be read."""
    path = Path(path)
    with MessageReader(path, Notices(lambda _: None)) as reader:
        topics, duration = reader.topics, (reader.end_ns - reader.start_ns) / 1e9
    roles = find_topic_roles(topics, config)
    lacking, notices, usable = ([], list(reader.notices), False) if roles.errors else _try_frames(path, config)
    files = [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]
    return BagInfo(
        path=path,
        kind=_kind(path),
        size=sum(file.stat().st_size for file in files),
        duration=duration,
        messages=sum(topic.count for topic in topics.values()),
        topics=list(topics.values()),
        found=roles.found,
        missing=[*roles.missing, *lacking],
        notices=notices,
        frames=topics[roles.lidar].count if roles.lidar in topics else 0,
        usable=usable,
    )


def _try_frames(path: Path, config: Config) -> tuple[list[str], list[str], bool]:
    """What the first frames lack and what is degraded in them, one line each, and whether there was a frame."""
    with BagReader(path, config, log=lambda _: None) as reader:
        try:
            with closing(reader.assembled()) as frames:
                assembled = list(islice(frames, _FRAMES_TRIED))
        except TaxonomyError as error:
            return [str(error).removeprefix(f"{path}: ")], _others(reader.notices), False
        lines = [f"sweeps dropped: {reason} ({count})" for reason, count in reader.counts.dropped.items()]
        notices = _others(reader.notices, {name for one in assembled for name in one.dropped})
    said = {POSE_EXTRAPOLATED, *([NO_MOTION] if MOTION_NOTICE in reader.notices.as_dict() else [])}  # in notices
    details: dict[str, str] = {}
    for one in assembled:
        for name, reason in one.warnings.items():
            if reason in said:
                continue
            details.setdefault(f"{name}: {reason}", one.details[name])
        for name, reason in one.dropped.items():
            details.setdefault(f"{name}: left out, {reason}", one.details[name])
    lines += [f"{what} ({detail})" for what, detail in details.items()]
    return lines, notices, bool(assembled)


def _others(notices: Notices, cameras: Collection[str] = ()) -> list[str]:
    """All but what ``missing`` has, which names these cameras."""
    own = {SWEEPS_DROPPED, *(f"{CAMERA_UNUSED}:{name}" for name in cameras)}
    return [text for key, text in notices.as_dict().items() if key not in own and not key.startswith("missing:")]


def _kind(path: Path) -> str:
    if path.suffix == ".bag":
        return "ROS 1"
    if path.is_file():
        return f"rosbag2 {path.suffix[1:]} file"
    metadata: dict[str, Any] = yaml.safe_load((path / "metadata.yaml").read_text(encoding="utf-8"))
    content = metadata["rosbag2_bagfile_information"]
    return f"rosbag2 {content['storage_identifier']}, version {content['version']}"
