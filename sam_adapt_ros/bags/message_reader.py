"""The messages of a bag as ROS 2 serializes them: rosbag2 (MCAP, SQLite) and ROS 1 bags, read without ROS."""

from __future__ import annotations

import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from rosbags import rosbag1
from rosbags.convert.converter import is_same_wireformat, migrate_bytes
from rosbags.interfaces import Connection, ConnectionExtRosbag2, Qos, QosDurability
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

from sam_adapt_ros.bags.rosbag2_folder import METADATA, Rosbag2File, Rosbag2Folder, describe
from sam_adapt_ros.errors import BagError, MessageError
from sam_adapt_ros.io.foreign_content import HEAD, placeholder
from sam_adapt_ros.notices import Notices

_DECODE_ERRORS = (SerdeError, struct.error, ValueError, IndexError, TypeError)

CDR_HEADER = 4
"""Bytes before a message's content, which say how it is serialized."""

BAG_FILES = {".mcap", ".db3", ".bag"}
"""Endings of files that are a bag, or a part of one."""

Bytes = bytes | memoryview
R = TypeVar("R", bound="MessageReader")


@dataclass(frozen=True)
class Topic:
    """One topic of a bag.

    msgtype: ROS 2's name of the type, ``sensor_msgs/msg/Image``, also in ROS 1 bags. count: messages of this type.
    transient_local: whether a recorded publisher offered transient-local durability (ROS 1: latched).
    offered_qos: the recorded publishers' profiles; empty where the bag has none, as in ROS 1.
    """

    name: str
    msgtype: str
    count: int
    transient_local: bool
    offered_qos: tuple[Qos, ...] = ()


@dataclass(frozen=True, eq=False)
class RawMessage:
    """A recorded message that is not decoded yet.

    msgtype: ROS 2's name of the type. log_time_ns: when it was recorded. data: its bytes as they are in the bag.
    connection: rosbags' record of where it comes from.
    """

    topic: str
    msgtype: str
    log_time_ns: int
    data: Bytes
    connection: Connection

    def cdr(self) -> Bytes:
        """The message as ROS 2 serializes it: as recorded, or converted from ROS 1.

        Raises MessageError, reason ``unknown_type`` (ROS 2 has no such type) or ``undecodable`` (the bytes do not fit
        their type). Of a ROS 2 message it is only checked that it is not empty.
        """
        if isinstance(self.connection.ext, ConnectionExtRosbag2):
            if len(self.data) < CDR_HEADER:
                text = f"{self.topic}: not a {self.msgtype}: {len(self.data)} bytes, {CDR_HEADER} at least expected"
                raise MessageError("undecodable", text)
            return self.data
        with self._errors():
            return _ros1_converter(self.connection.msgtype, self.connection.msgdef.data)(self.data)

    def decode(self) -> Any:
        """The message as an object of rosbags' class for its ROS 2 type. Raises MessageError as ``cdr``."""
        data = self.cdr()
        with self._errors():
            return _ros2_types().deserialize_cdr(data, self.msgtype)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (KeyError, TypesysError):
            raise MessageError("unknown_type", f"{self.topic}: unknown message type {self.msgtype}") from None
        except _DECODE_ERRORS as error:
            raise MessageError("undecodable", f"{self.topic}: not a {self.msgtype}: {error}") from None


class MessageReader:
    """Reads the messages of one bag; a context manager.

    path: a rosbag2 folder, one ``.mcap`` or ``.db3`` file of it, or a ROS 1 ``.bag``.
    notices: takes what is left out, in words; by default a list of the reader's own.
    Raises BagError that names the bag when it is missing or damaged; every method may raise it.
    """

    def __init__(self, path: str | Path, notices: Notices | None = None) -> None:
        self.path = Path(path)
        self.notices = notices if notices is not None else Notices()
        if not self.path.exists():
            raise BagError(f"{self.path}: no such bag")
        if self.path.is_dir() and not (self.path / METADATA).is_file():
            raise BagError(f"{self.path}: {METADATA} is missing; not a bag, or `ros2 bag reindex` can rebuild it")
        self._reader: rosbag1.Reader | Rosbag2Folder | Rosbag2File
        with self._errors():
            _refuse_placeholders(self.path)
            if self.path.is_dir():
                self._reader = Rosbag2Folder(self.path, self.notices)
            else:
                self._reader = rosbag1.Reader(path) if self.path.suffix == ".bag" else Rosbag2File(path)

    def __enter__(self: R) -> R:
        with self._errors():
            self._reader.open()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(sqlite3.ProgrammingError):  # closed by another thread than the one that opened it
            self._reader.close()

    @cached_property
    def topics(self) -> dict[str, Topic]:
        """By name, in alphabetical order: those that can be read."""
        topics = {}
        for name, connections in self._connections.items():
            offered = tuple(qos for c in connections for qos in getattr(c.ext, "offered_qos_profiles", ()))  # ROS 2
            latched = any(getattr(c.ext, "latching", False) for c in connections)  # ROS 1
            topics[name] = Topic(
                name=name,
                msgtype=_ros2_name(connections[0].msgtype),
                count=sum(c.msgcount for c in connections),
                transient_local=latched or any(qos.durability is QosDurability.TRANSIENT_LOCAL for qos in offered),
                offered_qos=offered,
            )
        return topics

    @property
    def start_ns(self) -> int:
        """Log time of the first message; 0 in an empty bag."""
        return self._reader.start_time if self._reader.message_count else 0

    @property
    def end_ns(self) -> int:
        """Log time of the last message; 0 in an empty bag."""
        return self._reader.end_time - 1 if self._reader.message_count else 0

    def messages(
        self, topics: Collection[str] | None = None, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[RawMessage]:
        """The messages in the order of their log times.

        topics: only these; None: all. start_ns, stop_ns: the first log time, and the first one that is too late; None:
        the bag's. Where a bag is indexed, no more is read than that.

        A topic that yields fewer messages than the bag's index has for it is told to ``notices``.
        """
        names = [name for name in self._connections if topics is None or name in topics]
        connections = [c for name in names for c in self._connections[name]]
        if not connections:
            return
        read: Counter[str] = Counter()
        stream = self._reader.messages(connections, start_ns, stop_ns)
        while True:
            with self._errors():
                try:
                    connection, log_time_ns, data = next(stream)
                except StopIteration:
                    break
            read[connection.topic] += 1
            yield RawMessage(connection.topic, _ros2_name(connection.msgtype), log_time_ns, data, connection)
        for name in names if start_ns is stop_ns is None else ():
            if read[name] < (count := self.topics[name].count):
                text = f"{self.path}: {name} has {read[name]} messages, {count} by the file's index"
                self.notices.add(f"messages_missing:{name.replace('.', '_')}", text)

    @cached_property
    def _connections(self) -> dict[str, list[Connection]]:
        """By topic: those of its most frequent type, serialized as ROS does it."""
        by_topic = attrgetter("topic")
        found: dict[str, list[Connection]] = {}
        foreign: dict[str, str] = {}
        for name, group in groupby(sorted(self._reader.connections, key=by_topic), key=by_topic):
            connections = []
            for connection in group:
                encoding = getattr(connection.ext, "serialization_format", "")  # ROS 2
                if encoding in ("cdr", ""):
                    connections.append(connection)
                else:
                    foreign[name] = encoding
            if connections:
                found[name] = self._of_one_type(name, connections)
        if foreign:
            listed = ", ".join(f"{name} ({encoding})" for name, encoding in foreign.items())
            self.notices.add("serialization", f"{self.path}: left out, since they are not serialized as cdr: {listed}")
        return found

    def _of_one_type(self, topic: str, connections: list[Connection]) -> list[Connection]:
        counts: Counter[str] = Counter()
        for connection in connections:
            counts[connection.msgtype] += connection.msgcount
        (msgtype, _), *others = counts.most_common()
        if others:
            listed = ", ".join(f"{count} of {other}" for other, count in others)
            text = f"{self.path}: {topic} was recorded with several types: {msgtype} is read, left out are {listed}"
            self.notices.add(f"types:{topic.replace('.', '_')}", text)
        return [connection for connection in connections if connection.msgtype == msgtype]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Around the reading of files, and nothing else."""
        try:
            yield
        except BagError:
            raise
        except Exception as error:  # damaged files make rosbags raise whatever its parsing runs into
            raise BagError(f"{self.path}: cannot be read: {describe(error)}") from None


def _refuse_placeholders(path: Path) -> None:
    """Raises BagError when a file of the bag is a web page or a Git LFS pointer, and OSError."""
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.suffix in {*BAG_FILES, ".yaml"}:
            with file.open("rb") as content:
                head = content.read(HEAD)
            if head and (found := placeholder(head)):
                raise BagError(f"{file}: is {found}")


@cache
def _ros2_types() -> Any:
    """ROS 2's own definitions, so that a bag need not carry any."""
    return get_typestore(Stores.ROS2_JAZZY)


@cache
def _ros1_converter(msgtype: str, definition: str) -> Callable[[Bytes], Bytes]:
    """Converts ROS 1 messages of a type, as the bag defines it, to CDR.

    Where ROS 2's definition differs, fields of the same name are taken over and new ones get their default.
    Raises KeyError when ROS 2 has no such type, TypesysError when the bag's definition is malformed.
    """
    source, target, ros2_name = get_typestore(Stores.EMPTY), _ros2_types(), _ros2_name(msgtype)
    source.register(get_types_from_msg(definition, msgtype))
    if is_same_wireformat(source, target, msgtype, ros2_name):
        return lambda data: target.ros1_to_cdr(data, ros2_name)
    return lambda data: migrate_bytes(source, target, msgtype, ros2_name, {}, data, src_is2=False, dst_is2=True)


def _ros2_name(msgtype: str) -> str:
    return "tf2_msgs/msg/TFMessage" if msgtype == "tf/msg/tfMessage" else msgtype
