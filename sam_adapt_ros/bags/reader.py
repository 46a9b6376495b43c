"""A bag -> frames, by the synchronizer and the assembler that serve live topics, so that both give the same."""

from __future__ import annotations

import itertools
import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from sam_adapt_ros.bags.label_clouds import LabelClouds
from sam_adapt_ros.bags.message_reader import MessageReader, RawMessage
from sam_adapt_ros.bags.shortfalls import Shortfalls
from sam_adapt_ros.bags.topic_roles import TopicRoles, find_topic_roles
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError, MessageError, TaxonomyError
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry.poses import SECOND
from sam_adapt_ros.messages import (
    AssembledFrame,
    Calibration,
    FrameAssembler,
    Match,
    TimeSynchronizer,
    read_points,
    stamp_ns,
)
from sam_adapt_ros.messages.calibration_file import CALIBRATION_FILE
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.taxonomy import Taxonomy

logger = logging.getLogger(__name__)

_LEAD_NS = 2 * SECOND
"""Transforms, CameraInfo and labels are read this far ahead of sweeps and images, so that those recorded late (TF at
2 Hz, labels behind their sweep) are there when they are needed."""
_AROUND_NS = SECOND // 2
"""Images that belong to a sweep are recorded within this of it, and as much longer as the synchronizer keeps and awaits
them."""
_MEMORY_NS = 2 * SECOND
"""Poses of a sweep and its images were recorded within this before them, were they only at 2 Hz."""
_KEPT = 128  # instance images that may wait for their image


@dataclass
class Counts:
    """frames_in: sweeps read. frames: given out. dropped: sweeps by reason. cameras: ``<reason>.<camera>``, images
    left out or used with a warning. messages: other messages that could not be used, ``<reason>.<topic>``."""

    frames_in: int = 0
    frames: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    cameras: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)


class BagReader(MessageReader):
    """A ``MessageReader`` that also makes the bag's frames.

    path: see ``MessageReader``. config: names the topics. log: takes each notice once. taxonomy: instead of the
    configured one. Ground truth is not read without a taxonomy, or with one that lacks the configured mapping.

    Raises BagError when the bag cannot be read, has no usable LiDAR topic, or has images of other topics only, and
    TaxonomyError at labels whose ids are of another data set; ``frames`` warns of what else is missing.

    counts, notices: what became of the messages, and what is degraded, in words; both are of the latest call.
    """

    def __init__(
        self,
        path: str | Path,
        config: Config,
        log: Callable[[str], object] = logger.warning,
        taxonomy: Taxonomy | None = None,
    ) -> None:
        super().__init__(path, Notices(log))
        self.config = config
        self.counts = Counts()
        self._log, self._of_bag = log, self.notices
        self._taxonomy = self._load_taxonomy() if taxonomy is None else taxonomy

    @cached_property
    def roles(self) -> TopicRoles:
        """Which topics of the bag play which role. Raises BagError when the bag is unusable."""
        roles = find_topic_roles(self.topics, self.config)
        if roles.errors:
            raise BagError(f"{self.path}: {'; '.join(roles.errors)}")
        return roles

    @property
    def sweeps(self) -> int:
        """How many LiDAR messages the bag has."""
        return self.topics[self.roles.lidar].count

    def frames(self, only: Collection[int] | None = None) -> Iterator[Frame]:
        """Every sweep that can be used, with its images, in the order of the sweeps' stamps.

        only: numbers of the sweeps to give, counted from 0; images of the others are not decoded. None: all.

        ``counts`` is of the latest call. Raises BagError when the bag is unusable or damaged.
        """
        return (assembled.frame for assembled in self.assembled(only))

    def assembled(self, only: Collection[int] | None = None) -> Generator[AssembledFrame]:
        """As ``frames``, with what each one lacks. Every call starts at the bag's beginning and counts anew."""
        return self._assembled(lambda number, _: only is None or number in only, all_sweeps=only is None)

    def frame(self, stamp_ns: int, log_time_ns: int) -> Frame:
        """The frame of one sweep, from what was recorded around it; it is the one that ``frames`` gives.

        stamp_ns, log_time_ns: of the sweep. Raises BagError with the reason when there is no such frame.
        """
        sync = self.config.sync
        before, after = (round(seconds * SECOND) for seconds in (sync.camera_tolerance, sync.camera_timeout))
        window = (log_time_ns - _AROUND_NS - before, log_time_ns + _AROUND_NS + after)
        for assembled in self._assembled(lambda _, match: match.stamp_ns == stamp_ns, window=window):
            return assembled.frame
        reasons = ", ".join(self.counts.dropped) or "its stamp goes back"
        raise BagError(f"{self.path}: sweep at {stamp_ns} gives no frame ({reasons})")

    def usable_sweeps(self) -> dict[int, int]:
        """Log time by stamp [ns] of the sweeps that give a frame; where a stamp comes again, of the first. All clouds
        are read, no image is. ``counts`` has what became of the others."""
        self.counts = counts = Counts()
        times: dict[int, int] = {}

        def matched(match: Match) -> None:
            times.setdefault(match.stamp_ns, match.sweep)

        synchronizer = TimeSynchronizer(
            {}, self.config.sync, matched, lambda reason, _: counts.dropped.update([reason])
        )
        for message in self.messages([self.roles.lidar]):
            counts.frames_in += 1
            try:
                decoded = message.decode()
                if len(read_points(decoded)) == 0:
                    raise MessageError("cloud_empty", "point cloud: no points")
            except MessageError as error:
                counts.dropped[error.reason] += 1
            else:
                synchronizer.add_sweep(stamp_ns(decoded.header), message.log_time_ns, message.log_time_ns)
        synchronizer.flush()
        counts.frames = len(times)
        return times

    def _assembled(
        self,
        wanted: Callable[[int, Match], bool],
        all_sweeps: bool = False,
        window: tuple[int, int] | None = None,
    ) -> Generator[AssembledFrame]:
        """wanted: by number and match. window: log times that sweeps and images are read from; None: all."""
        roles = self.roles
        self.counts, self.notices = Counts(), Notices(self._log)
        self.notices.update(self._of_bag)
        for key, lines in (("missing", roles.missing), ("guessed", roles.guessed)):
            for number, line in enumerate(lines):
                self.notices.add(f"{key}:{number}", f"{self.path}: {line}")
        counts, notices = self.counts, self.notices
        self._shortfalls = Shortfalls(roles.lidar, notices)
        matches: deque[Match] = deque()
        numbers = itertools.count()

        def matched(match: Match) -> None:
            if wanted(next(numbers), match):
                matches.append(match)

        synchronizer = TimeSynchronizer(
            {name: self.config.cameras[name].time_offset for name in roles.images.values()},
            self.config.sync,
            matched,
            lambda reason, _: counts.dropped.update([reason]),
            notices,
        )
        # Two readers, each with its own position in the file, opened by the thread that iterates (SQLite requires it).
        with (
            MessageReader(self.path, notices) as main,
            MessageReader(self.path, notices) as ahead,
            ExitStack() as at_end,
        ):
            at_end.callback(lambda: self._shortfalls.conclude(counts.frames_in, counts.frames, counts.dropped))
            at_end.callback(synchronizer.conclude)  # also where the caller has seen enough
            at_end.callback(self._check_labels, labels := LabelClouds(), all_sweeps)
            context = _LookAhead(ahead, roles, assembler := self._assembler(), counts, labels, window)
            at_end.callback(assembler.conclude)
            for message in main.messages({roles.lidar, *roles.images}, *(window or ())):
                now = message.log_time_ns
                context.read_until(now + _LEAD_NS)
                synchronizer.tick(now)
                try:
                    decoded = message.decode()
                except MessageError as error:
                    self._count_undecodable(message, error)
                    continue
                stamp = stamp_ns(decoded.header)
                if message.topic == roles.lidar:
                    counts.frames_in += 1
                    synchronizer.add_sweep(stamp, decoded, now)
                else:
                    synchronizer.add_image(roles.images[message.topic], stamp, decoded, now)
                yield from self._assemble(matches, context)
            synchronizer.flush()
            yield from self._assemble(matches, context)

    def _check_labels(self, labels: LabelClouds, all_sweeps: bool) -> None:
        """Says whether the bag's true labels are of no use."""
        topic, mapping = self.roles.ground_truth, self.config.ground_truth.mapping
        complaint = labels.complaint() if all_sweeps else ""
        if self.config.taxonomy and self._taxonomy is None:
            complaint = f"true labels are not read: taxonomy {self.config.taxonomy} has no mapping {mapping!r}"
        if topic and complaint:
            self.notices.add("ground_truth", f"{topic}: {complaint}")

    def _load_taxonomy(self) -> Taxonomy | None:
        if not self.config.taxonomy:
            return None
        taxonomy, mapping = Taxonomy.load(self.config.taxonomy), self.config.ground_truth.mapping
        return None if mapping and mapping not in taxonomy.mappings else taxonomy

    def _assembler(self) -> FrameAssembler:
        assembler = FrameAssembler(self.config, self._taxonomy, self.notices)
        configured = self.config.transforms.calibration_file
        own = (self.path if self.path.is_dir() else self.path.parent) / CALIBRATION_FILE
        if configured or own.is_file():
            assembler.set_calibration(Calibration.load(Path(configured) if configured else own))
        return assembler

    def _assemble(self, matches: deque[Match], context: _LookAhead) -> Iterator[AssembledFrame]:
        while matches:
            match = matches.popleft()
            for name in match.missing:
                self._without(name, "image_missing")
            try:
                assembled = context.assemble(match)
            except TaxonomyError as error:
                raise TaxonomyError(f"{self.path}: {error}") from None
            except MessageError as error:
                logger.warning("%s: sweep at %d dropped: %s", self.path, match.stamp_ns, error)
                self.counts.dropped[error.reason] += 1
                continue
            for name, reason in assembled.dropped.items():
                self._without(name, reason, assembled.details[name])
            self.counts.cameras.update(f"{reason}.{name}" for name, reason in assembled.warnings.items())
            self.counts.frames += 1
            yield assembled

    def _count_undecodable(self, message: RawMessage, error: MessageError) -> None:
        logger.warning("%s: message at %d left out: %s", self.path, message.log_time_ns, error)
        if message.topic == self.roles.lidar:
            self.counts.frames_in += 1
            self.counts.dropped[error.reason] += 1
        else:
            self._without(self.roles.images[message.topic], error.reason)

    def _without(self, camera: str, reason: str, detail: str = "") -> None:
        self.counts.cameras[f"{reason}.{camera}"] += 1
        self._shortfalls.without(camera, reason, detail)


class _LookAhead:
    """What frames need besides sweeps and images (transforms, CameraInfo, labels), read ahead of them."""

    def __init__(
        self,
        source: MessageReader,
        roles: TopicRoles,
        assembler: FrameAssembler,
        counts: Counts,
        labels: LabelClouds,
        window: tuple[int, int] | None,
    ) -> None:
        self._path, self._notices = source.path, source.notices
        self._roles = roles
        self._assembler = assembler
        self._counts = counts
        self._labels = labels
        self._instances: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._messages = source.messages(roles.context_topics) if window is None else self._around(source, *window)
        self._next = next(self._messages, None)

    def _around(self, source: MessageReader, start_ns: int, stop_ns: int) -> Iterator[RawMessage]:
        """What a part of the bag needs: what holds from the beginning on, then what is recorded around the part."""
        first = start_ns - _MEMORY_NS
        latched = {topic for topic in self._roles.context_topics if source.topics[topic].transient_local}
        latched |= {topic for topic, static in self._roles.transforms.items() if static}
        yield from source.messages(latched, stop_ns=first)
        for topic in self._roles.infos:
            yield from islice(source.messages([topic], stop_ns=first), 1)
        yield from source.messages(self._roles.context_topics, first, stop_ns + _LEAD_NS)

    def read_until(self, log_time_ns: int) -> None:
        """Takes in everything that was recorded up to a time."""
        while self._next is not None and self._next.log_time_ns <= log_time_ns:
            message = self._next
            try:
                self._take(message.topic, message.decode())
            except MessageError as error:
                self._refuse(error.reason, message.topic)
            self._next = next(self._messages, None)

    def assemble(self, match: Match) -> AssembledFrame:
        """Raises MessageError when the sweep is unusable."""
        images = match.images
        instances = {name: self._instances.pop((name, stamp_ns(msg.header)), None) for name, (_, msg) in images.items()}
        return self._assembler.assemble(
            match.stamp_ns,
            match.sweep.header.frame_id,
            match.sweep,
            images,
            self._labels.take(match.stamp_ns),
            {name: msg for name, msg in instances.items() if msg is not None},
        )

    def _take(self, topic: str, msg: Any) -> None:
        roles = self._roles
        if topic in roles.transforms:
            unusable = self._assembler.transforms.tf(msg, roles.transforms[topic], topic)
            self._counts.messages.update([f"transform.{topic}"] * unusable)
        elif topic == roles.odometry:
            self._counts.messages.update([f"transform.{topic}"] * self._assembler.transforms.odometry(msg, topic))
        elif topic in roles.infos:
            for camera in roles.infos[topic]:
                self._assembler.set_camera_info(camera, msg)
        elif topic == roles.ground_truth:
            self._labels.add(stamp_ns(msg.header), msg)
        elif topic in roles.instances:
            _keep(self._instances, (roles.instances[topic], stamp_ns(msg.header)), msg)

    def _refuse(self, reason: str, topic: str) -> None:
        key = f"{reason}.{topic}"
        self._counts.messages[key] += 1
        text = f"{self._path}: {topic}: {self._counts.messages[key]} messages left out ({reason})"
        self._notices.add(f"left_out:{reason}:{topic.replace('.', '_')}", text)


def _keep(messages: OrderedDict[Any, Any], key: Any, msg: Any) -> None:
    messages[key] = msg
    messages.move_to_end(key)
    if len(messages) > _KEPT:
        messages.popitem(last=False)
