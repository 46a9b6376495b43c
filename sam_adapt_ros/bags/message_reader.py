"""The messages of a bag as ROS 2 serializes them: rosbag2 (MCAP, SQLite) and ROS 1 bags, read without ROS."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from rosbags import rosbag1, rosbag2
from rosbags.convert.converter import is_same_wireformat, migrate_bytes
from rosbags.interfaces import Connection, ConnectionExtRosbag2, Qos, QosDurability
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

from sam_adapt_ros.errors import BagError, MessageError

_DECODE_ERRORS = (SerdeError, struct.error, ValueError, IndexError, TypeError)

Bytes = bytes | memoryview
R = TypeVar("R", bound="MessageReader")


@dataclass(frozen=True)
class Topic:
    """One topic of a bag.

    msgtype: ROS 2's name of the type, ``sensor_msgs/msg/Image``, also in ROS 1 bags. count: messages.
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
        their type). Of a ROS 2 message nothing is checked.
        """
        if isinstance(self.connection.ext, ConnectionExtRosbag2):
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
    Raises BagError that names the bag when it is missing or damaged; every method may raise it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise BagError(f"{self.path}: no such bag")
        if self.path.is_dir() and not (self.path / "metadata.yaml").is_file():
            raise BagError(f"{self.path}: metadata.yaml is missing; not a bag, or `ros2 bag reindex` can rebuild it")
        with self._errors():
            self._reader = rosbag1.Reader(path) if self.path.suffix == ".bag" else rosbag2.Reader(path)

    def __enter__(self: R) -> R:
        with self._errors():
            self._reader.open()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(sqlite3.ProgrammingError):  # closed by another thread than the one that opened it
            self._reader.close()

    @cached_property
    def topics(self) -> dict[str, Topic]:
        """By name, in alphabetical order. A topic that was recorded with several types has that of the first."""
        by_topic = attrgetter("topic")
        topics = {}
        for name, group in groupby(sorted(self._reader.connections, key=by_topic), key=by_topic):
            connections = list(group)
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

    def messages(self, topics: Collection[str] | None = None) -> Iterator[RawMessage]:
        """The messages in the order of their log times. topics: only these; None: all."""
        connections = [c for c in self._reader.connections if topics is None or c.topic in topics]
        if not connections:
            return
        stream = self._reader.messages(connections=connections)
        while True:
            with self._errors():
                try:
                    connection, log_time_ns, data = next(stream)
                except StopIteration:
                    return
            yield RawMessage(connection.topic, _ros2_name(connection.msgtype), log_time_ns, data, connection)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Around calls of rosbags, and nothing else."""
        try:
            yield
        except Exception as error:  # damaged files make rosbags raise whatever its parsing runs into
            raise BagError(f"{self.path}: cannot be read: {error or type(error).__name__}") from None


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
