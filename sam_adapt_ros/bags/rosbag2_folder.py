"""A rosbag2's folder: the files that are there, read in the order of time, and what ``metadata.yaml`` says of them.

rosbags reads each file. Its own reader of folders is not used: it leaves out, without a word, the messages of a topic
whose quality of service was edited in ``metadata.yaml``, and refuses a whole bag for one missing file or one topic of
another serialization.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from itertools import chain, pairwise
from operator import itemgetter
from pathlib import Path, PurePath
from typing import Any

import yaml
from rosbags import rosbag2
from rosbags.interfaces import Connection, ConnectionExtRosbag2, Qos
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.metadata import parse_qos
from rosbags.rosbag2.storage_mcap import McapReader, Schema

from sam_adapt_ros.bags.unpacked_files import unpack
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.notices import Notices

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

METADATA = "metadata.yaml"
_NEWEST_VERSION = 9
Message = tuple[Connection, int, bytes]  # what rosbags' readers yield; the second is the log time
_SUFFIXES = {"mcap": ".mcap", "sqlite3": ".db3"}
_SCHEMA_ENCODINGS = ("ros2msg", "ros2idl", "omgidl", "")
_YamlLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the first is fast, and not everywhere


class _Schemas(dict[int, Schema]):
    """Takes any schema: rosbags refuses a whole file for one JSON or protobuf channel."""

    def __setitem__(self, key: int, schema: Schema) -> None:
        known = schema.encoding in _SCHEMA_ENCODINGS
        super().__setitem__(key, schema if known else schema._replace(encoding="", data=""))


class _McapReader(McapReader):
    def __init__(self, path: Any) -> None:
        super().__init__(path)
        self.schemas = _Schemas()


class Rosbag2File(rosbag2.Reader):
    """One ``.mcap`` or ``.db3`` file."""

    STORAGE_PLUGINS = {**rosbag2.Reader.STORAGE_PLUGINS, ".mcap": _McapReader}  # noqa: RUF012


class Rosbag2Folder:
    """The files of a folder as one bag, with the interface of rosbags' readers.

    A connection is one file's; its quality of service is that of ``metadata.yaml``, as for ``ros2 bag play``.
    notices: told of files that are missing or damaged, and of topics with fewer messages than ``metadata.yaml`` has.
    Raises BagError when ``metadata.yaml`` is malformed or no file can be read.
    """

    def __init__(self, path: Path, notices: Notices) -> None:
        self.connections: list[Connection] = []
        self._path, self._notices = path, notices
        self._stack = ExitStack()
        self._files: list[Rosbag2File] = []
        self._compressed_messages = False

    def open(self) -> None:
        metadata = _Metadata(self._path / METADATA)
        self._compressed_messages = metadata.compression == "message"
        problems = {}
        try:
            for name in metadata.files:
                if problem := self._open_file(self._path / name, metadata):
                    problems[name] = problem
            listed = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
            if problems and not self._files:
                raise BagError(f"{self._path}: cannot be read: {listed}")
        except BaseException:
            self.close()
            raise
        if problems:
            self._notices.add("bag_files", f"{self._path}: only some of its files can be read, the rest not: {listed}")
        self._files.sort(key=lambda file: file.start_time)
        self.connections = [
            connection._replace(ext=metadata.with_qos(connection), owner=file)
            for file in self._files
            for connection in file.connections
        ]
        self._compare_counts(metadata.counts)

    def close(self) -> None:
        self._stack.close()
        self._files = []

    @property
    def message_count(self) -> int:
        return sum(file.message_count for file in self._files)

    @property
    def start_time(self) -> int:
        """Log time of the first message; where there is none, the latest time there is."""
        return min((file.start_time for file in self._files), default=2**63 - 1)

    @property
    def end_time(self) -> int:
        """A nanosecond after the last message's log time; 0 where there is none."""
        return max((file.end_time for file in self._files), default=0)

    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Iterator[Message]:
        """In the order of their log times, also where two files overlap in time. start, stop: log times, see rosbags'
        readers."""
        streams = [self._messages_of(file, connections, start, stop) for file in self._files]
        if all(file.end_time <= later.start_time for file, later in pairwise(self._files)):
            return chain.from_iterable(streams)  # one file after the other is open
        return heapq.merge(*streams, key=itemgetter(1))

    def _messages_of(
        self, file: Rosbag2File, connections: Collection[Connection], start: int | None, stop: int | None
    ) -> Iterator[Message]:
        wanted = {c.id: c for c in connections if c.owner is file}
        if own := [c for c in file.connections if c.id in wanted]:
            for connection, log_time_ns, data in file.messages(own, start, stop):
                content = zstd.decompress(data) if self._compressed_messages else data
                yield wanted[connection.id], log_time_ns, content

    def _open_file(self, path: Path, metadata: _Metadata) -> str:
        """Returns why the file cannot be read; "" if it can."""
        if not path.is_file():
            return "no such file"
        try:
            file = Rosbag2File(unpack(path, _SUFFIXES[metadata.storage]) if metadata.compression == "file" else path)
            file.open()
        except Exception as error:  # damaged files make rosbags raise whatever its parsing runs into
            return describe(error)
        self._stack.callback(file.close)
        self._files.append(file)
        return ""

    def _compare_counts(self, promised: dict[str, int]) -> None:
        there = dict.fromkeys(promised, 0)
        for connection in self.connections:
            there[connection.topic] = there.get(connection.topic, 0) + connection.msgcount
        fewer = [f"{topic} {there[topic]} of {count}" for topic, count in promised.items() if there[topic] < count]
        if fewer:
            text = f"{self._path}: the files hold fewer messages than {METADATA} says: {', '.join(fewer)}"
            self._notices.add("messages_missing", text)


def describe(error: Exception) -> str:
    """rosbags' error in one line, with what helps."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "File end magic" in text:
        text += " It was cut short, as when a recorder is killed: `mcap recover` keeps what is whole."
    return text


class _Metadata:
    """``metadata.yaml``: names of the files, messages and quality of service by topic."""

    def __init__(self, path: Path) -> None:
        try:
            content = yaml.load(path.read_text(encoding="utf-8"), Loader=_YamlLoader)["rosbag2_bagfile_information"]
            topics = [
                (topic["topic_metadata"], topic["message_count"]) for topic in content["topics_with_message_count"]
            ]
            version, self.storage = int(content["version"]), str(content["storage_identifier"])
            self.files = [PurePath(name).name for name in content["relative_file_paths"]]
            self.compression = str(content.get("compression_mode") or "").lower()
            compression_format = str(content.get("compression_format") or "zstd")
            self.counts: dict[str, int] = {}
            self._qos: dict[tuple[str, str], list[Qos]] = {}
            for topic, count in topics:
                self.counts[topic["name"]] = self.counts.get(topic["name"], 0) + int(count)
                with suppress(KeyError, TypeError, ValueError, AttributeError, ReaderError):  # the file has it, too
                    self._qos[topic["name"], topic["type"]] = parse_qos(topic.get("offered_qos_profiles") or [])
        except KeyError as error:
            raise _MetadataError(path, f"no field {error}") from None
        except (OSError, yaml.YAMLError, TypeError, ValueError, AttributeError, ReaderError) as error:
            raise _MetadataError(path, f"not a bag's metadata: {describe(error)}") from None
        for name, value, expected in (
            ("version", version, range(1, _NEWEST_VERSION + 1)),
            ("storage_identifier", self.storage, tuple(_SUFFIXES)),
            ("compression_mode", self.compression, ("", "none", "file", "message")),
            ("compression_format", compression_format, ("zstd",) if self.compression in ("file", "message") else None),
        ):
            if expected is not None and value not in expected:
                known = "one of " + ", ".join(str(known) for known in expected if known)
                raise _MetadataError(path, f"{name}: {known} expected, got {value!r}")

    def with_qos(self, connection: Connection) -> Any:
        """The connection's format and quality of service, the latter as it is here."""
        own = connection.ext
        assert isinstance(own, ConnectionExtRosbag2)
        qos = self._qos.get((connection.topic, connection.msgtype), own.offered_qos_profiles)
        return ConnectionExtRosbag2(own.serialization_format, qos)


class _MetadataError(BagError):
    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path.parent}: cannot be read: {path.name}: {problem}")
