"""Messages of any bag: rosbag2 (mcap, sqlite3) and ROS 1, without ROS. Types that nobody asks for may be unknown."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from rosbags import rosbag1, rosbag2
from rosbags.interfaces import Connection, ConnectionExtRosbag1, MessageDefinitionFormat, QosDurability
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

from sam_adapt_ros.errors import BagError, MessageError

# What rosbags lets through when it meets damage that it does not look for.
_DAMAGE = (
    rosbag1.ReaderError,
    rosbag2.ReaderError,
    OSError,
    EOFError,
    MemoryError,  # a damaged length
    OverflowError,
    sqlite3.Error,
    struct.error,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
)
_RENAMED = {"tf/msg/tfMessage": "tf2_msgs/msg/TFMessage"}


@cache
def _ros2_types() -> Any:
    return get_typestore(Stores.ROS2_JAZZY)


@dataclass(frozen=True)
class Topic:
    """One topic of a bag. msgtype: ROS 2's spelling, ``sensor_msgs/msg/Image``, for ROS 1 bags too."""

    name: str
    msgtype: str
    count: int
    transient_local: bool  # latched, in ROS 1


@dataclass(frozen=True, eq=False)
class RawMessage:
    """A recorded message, not decoded. log_time_ns: when it was recorded. data: as it is in the bag."""

    topic: str
    msgtype: str
    log_time_ns: int
    data: bytes | memoryview
    source: MessageReader

    def decode(self) -> Any:
        """The message. Raises MessageError, reason ``undecodable``, when its bytes do not fit its type."""
        return self.source.decode(self)

    def cdr(self) -> bytes | memoryview:
        """Serialized for ROS 2."""
        return self.data if self.source.is_ros2 else self.source.to_cdr(self)


class MessageReader:
    """Reads one bag; a context manager.

    path: a rosbag2 folder, an ``.mcap`` or ``.db3`` file of one, or a ROS 1 ``.bag``.
    Raises BagError that names the bag and what is wrong with it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise BagError(f"{self.path}: no such bag")
        if self.path.is_dir() and not (self.path / "metadata.yaml").is_file():
            raise BagError(f"{self.path}: metadata.yaml is missing; not a bag, or `ros2 bag reindex` can rebuild it")
        self.is_ros2 = self.path.suffix != ".bag"
        with self._errors():
            self._reader = rosbag2.Reader(self.path) if self.is_ros2 else rosbag1.Reader(self.path)

    def __enter__(self) -> MessageReader:
        with self._errors():
            self._reader.open()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(sqlite3.ProgrammingError):  # closed by a thread that did not open it
            self._reader.close()

    @cached_property
    def topics(self) -> dict[str, Topic]:
        """By name, in alphabetical order. A topic of several types has the type of its first connection."""
        topics: dict[str, Topic] = {}
        for connection in sorted(self._reader.connections, key=lambda connection: connection.topic):
            known = topics.get(connection.topic)
            topics[connection.topic] = Topic(
                name=connection.topic,
                msgtype=known.msgtype if known else connection.msgtype,
                count=connection.msgcount + (known.count if known else 0),
                transient_local=_is_transient_local(connection) or (known is not None and known.transient_local),
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
        """In the order of their log times. topics: only these (None: all)."""
        connections = [c for c in self._reader.connections if topics is None or c.topic in topics]
        if not connections:
            return
        stream = self._reader.messages(connections=connections)
        while True:
            with self._errors():  # around the reading alone: what the consumer raises is not the bag's fault
                try:
                    connection, log_time_ns, data = next(stream)
                except StopIteration:
                    return
            yield RawMessage(connection.topic, connection.msgtype, log_time_ns, data, self)

    def decode(self, message: RawMessage) -> Any:
        """See ``RawMessage.decode``."""
        try:
            if self.is_ros2:
                return self._typestore.deserialize_cdr(message.data, message.msgtype)
            return self._typestore.deserialize_ros1(message.data, message.msgtype)
        except KeyError:
            raise MessageError("unknown_type", f"{message.topic}: unknown message type {message.msgtype}") from None
        except (SerdeError, struct.error, ValueError, IndexError, TypeError) as error:
            raise MessageError("undecodable", f"{message.topic}: not a {message.msgtype}: {error}") from None

    def to_cdr(self, message: RawMessage) -> memoryview:
        """A ROS 1 message, serialized for ROS 2. Raises MessageError as ``decode``."""
        try:
            return _ros2_types().ros1_to_cdr(message.data, _RENAMED.get(message.msgtype, message.msgtype))
        except KeyError:
            raise MessageError("unknown_type", f"{message.topic}: unknown message type {message.msgtype}") from None
        except (SerdeError, struct.error, ValueError, IndexError, TypeError) as error:
            raise MessageError("undecodable", f"{message.topic}: not a {message.msgtype}: {error}") from None

    @cached_property
    def _typestore(self) -> Any:
        """ROS 2's own definitions, so that a bag need not carry any; for ROS 1 those of the bag, which always does."""
        if self.is_ros2:
            return _ros2_types()
        store = get_typestore(Stores.ROS1_NOETIC)
        for connection in self._reader.connections:
            if connection.msgtype in store.fielddefs or connection.msgdef.format != MessageDefinitionFormat.MSG:
                continue
            try:
                types = get_types_from_msg(connection.msgdef.data, connection.msgtype)
                store.register({name: fields for name, fields in types.items() if name not in store.fielddefs})
            except TypesysError:
                continue  # it stays unknown
        return store

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            raise BagError(f"{self.path}: cannot be read: {error or type(error).__name__}") from None


def _is_transient_local(connection: Connection) -> bool:
    if isinstance(connection.ext, ConnectionExtRosbag1):
        return bool(connection.ext.latching)
    return any(qos.durability is QosDurability.TRANSIENT_LOCAL for qos in connection.ext.offered_qos_profiles)
