"""Messages -> a rosbag2 that ``ros2 bag play`` of Humble (metadata version 8) and Jazzy (version 9) takes."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_typestore

from sam_adapt_ros.errors import BagError
from sam_adapt_ros.io.whole_folder import take_place

Storage = Literal["mcap", "sqlite3"]
Version = Literal[8, 9]
_PLUGINS = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
_TYPES = {8: Stores.ROS2_HUMBLE, 9: Stores.ROS2_JAZZY}
_INFINITE = QosTime(9223372036, 854775807)  # what rosbag2 itself records for "no deadline"

W = TypeVar("W", bound="MessageWriter")


class MessageWriter:
    """Writes one rosbag2; a context manager.

    The bag is written into a hidden sibling folder, which is renamed once the bag is complete: its final name never
    holds part of a bag. Leaving the context by an exception, Ctrl-C included, leaves nothing behind.

    path: the bag's folder. An existing one is refused unless ``force``, which replaces it once the new bag is complete.
    storage: the storage plugin. version: 8 for Humble, 9 for Jazzy.
    Raises BagError when the path is taken or cannot be written.
    """

    def __init__(self, path: str | Path, storage: Storage = "mcap", version: Version = 9, force: bool = False) -> None:
        self.path = Path(path)
        if storage not in _PLUGINS:
            raise BagError(f"storage {storage!r}: mcap or sqlite3 expected")
        if version not in _TYPES:
            raise BagError(f"version {version!r}: 8 (Humble) or 9 (Jazzy) expected")
        self._storage, self._version, self._force = storage, version, force
        self._refuse_taken()
        self._typestore = get_typestore(_TYPES[version])
        self._connections: dict[str, Connection] = {}
        self._partial: Path | None = None
        self._writer: Writer | None = None

    def __enter__(self: W) -> W:
        try:
            with self._errors():
                parent = self.path.absolute().parent
                parent.mkdir(parents=True, exist_ok=True)
                self._partial = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.partial-", dir=parent))
                # The storage file takes its name from the folder, which therefore already has its final name.
                self._writer = Writer(self.folder, version=self._version, storage_plugin=_PLUGINS[self._storage])
                self._writer.open()
        except BagError:
            self._remove_partial()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._writer is not None and self._partial is not None
        try:
            with self._errors():
                if kind is not None:
                    self._writer.abort()
                    return
                self._writer.close()
                self._refuse_taken()  # another process may have taken the name meanwhile
                take_place(self.folder, self.path, self._partial / "replaced")
        finally:
            self._writer = None
            self._remove_partial()

    @property
    def folder(self) -> Path:
        """Where the bag is until it is complete: files put here become part of it."""
        assert self._partial is not None, "the writer is not open"
        return self._partial / self.path.name

    @property
    def types(self) -> Any:
        """rosbags' message classes by name, ``sensor_msgs/msg/Image`` and so on."""
        return self._typestore.types

    def write(
        self, topic: str, msg: Any, stamp_ns: int, *, msgtype: str | None = None, transient_local: bool = False
    ) -> None:
        """Writes one message with log time ``stamp_ns``.

        msg: a message of rosbags' classes, or its CDR bytes with ``msgtype`` given.
        transient_local: the topic's durability, settled by its first message.
        Raises BagError when the topic changes its type or the disk is full.
        """
        name = msgtype or str(getattr(msg, "__msgtype__", ""))
        connection = self._connections.get(topic) or self._connect(topic, name, transient_local)
        if connection.msgtype != name:
            raise BagError(f"{topic}: {connection.msgtype} expected, got {name or type(msg).__name__}")
        is_cdr = isinstance(msg, bytes | bytearray | memoryview)
        data = msg if is_cdr else self._typestore.serialize_cdr(msg, name)
        assert self._writer is not None, "the writer is not open"
        with self._errors():
            self._writer.write(connection, int(stamp_ns), data)

    def _connect(self, topic: str, msgtype: str, transient_local: bool) -> Connection:
        assert self._writer is not None, "the writer is not open"
        if msgtype not in self.types:
            raise BagError(f"{topic}: unknown message type {msgtype!r}")
        qos = Qos(
            history=QosHistory.KEEP_LAST,
            depth=1 if transient_local else 10,
            reliability=QosReliability.RELIABLE,
            durability=QosDurability.TRANSIENT_LOCAL if transient_local else QosDurability.VOLATILE,
            deadline=_INFINITE,
            lifespan=_INFINITE,
            liveliness=QosLiveliness.AUTOMATIC,
            liveliness_lease_duration=_INFINITE,
            avoid_ros_namespace_conventions=False,
        )
        connection = self._writer.add_connection(topic, msgtype, typestore=self._typestore, offered_qos_profiles=[qos])
        self._connections[topic] = connection
        return connection

    def _refuse_taken(self) -> None:
        if not self.path.exists():
            return
        if not self._force:
            raise BagError(f"{self.path} exists; choose another name or give --force")
        if not (self.path / "metadata.yaml").is_file():
            raise BagError(f"{self.path} exists and is not a bag, so --force does not replace it")

    def _remove_partial(self) -> None:
        if self._partial is not None:
            shutil.rmtree(self._partial, ignore_errors=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, WriterError) as error:
            reason = f"{error.filename or self.path}: {error.strerror}" if isinstance(error, OSError) else error
            raise BagError(f"{self.path}: cannot be written: {reason}") from None
