"""Messages -> a rosbag2 that ``ros2 bag play`` of Humble (version 8) and Jazzy (version 9) takes.

A bag is written to a hidden sibling folder and renamed when it is whole, so that the final name never holds half a bag.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_typestore

from sam_adapt_ros.bags.message_factory import MessageFactory, Transform
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.messages import calibration_file as calibration
from sam_adapt_ros.messages.point_cloud import CloudData, encode_labels

CALIBRATION_FILE = calibration.FILE_NAME

Storage = Literal["mcap", "sqlite3"]
Version = Literal[8, 9]
_STORES = {8: Stores.ROS2_HUMBLE, 9: Stores.ROS2_JAZZY}
_INFINITE = QosTime(9223372036, 854775807)  # what rosbag2 itself records for "no deadline"


class BagWriter:
    """Writes one rosbag2; a context manager. Leaving it by an exception, Ctrl-C included, leaves nothing behind.

    path: the bag's folder. An existing one is refused unless ``force``, which replaces it once the new bag is whole.
    storage: the storage plugin. version: 8 for Humble, 9 for Jazzy.
    Raises BagError when the path is taken or cannot be written.
    """

    def __init__(self, path: str | Path, storage: Storage = "mcap", version: Version = 9, force: bool = False) -> None:
        self.path = Path(path)
        if storage not in ("mcap", "sqlite3"):
            raise BagError(f"storage {storage!r}: mcap or sqlite3 expected")
        if version not in _STORES:
            raise BagError(f"version {version!r}: 8 (Humble) or 9 (Jazzy) expected")
        self._force = force
        self._refuse_taken()
        self._storage = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
        self._version = version
        self._typestore = get_typestore(_STORES[version])
        self._make = MessageFactory(self._typestore.types)
        self._connections: dict[str, Connection] = {}
        self._partial: Path | None = None
        self._writer: Writer | None = None

    def __enter__(self) -> BagWriter:
        try:
            self.path.absolute().parent.mkdir(parents=True, exist_ok=True)
            self._partial = Path(
                tempfile.mkdtemp(prefix=f".{self.path.name}.partial-", dir=self.path.absolute().parent)
            )
            # The storage file takes its name from the folder, which therefore already has its final name.
            self._writer = Writer(self.folder, version=self._version, storage_plugin=self._storage)
            self._writer.open()
        except (OSError, WriterError) as error:
            self._remove_partial()
            raise BagError(f"{self.path}: cannot be written: {error}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        assert self._writer is not None
        try:
            if kind is not None:
                self._writer.abort()
                return False
            self._writer.close()
            self._rename()
        except (OSError, sqlite3.Error, WriterError) as failure:
            raise BagError(f"{self.path}: cannot be written: {failure}") from None
        finally:
            self._writer = None
            self._remove_partial()
        return False

    @property
    def folder(self) -> Path:
        """Where the bag is until it is whole: files put here become part of it."""
        assert self._partial is not None, "the writer is not open"
        return self._partial / self.path.name

    @property
    def types(self) -> Any:
        """Message classes by name, ``sensor_msgs/msg/Image`` and so on."""
        return self._make.types

    # Messages ---------------------------------------------------------------------------------------------------------

    def write(
        self, topic: str, msg: Any, stamp_ns: int, *, msgtype: str | None = None, transient_local: bool = False
    ) -> None:
        """One message, recorded at ``stamp_ns``.

        msg: a rosbags message, or serialized CDR bytes with ``msgtype`` given.
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
        try:
            self._writer.write(connection, int(stamp_ns), data)
        except (OSError, sqlite3.Error) as error:
            raise BagError(f"{self.path}: cannot be written: {error}") from None

    def write_cloud(self, topic: str, stamp_ns: int, frame_id: str, cloud: CloudData) -> None:
        """A sensor_msgs/PointCloud2 of one row."""
        self.write(topic, self._make.cloud(stamp_ns, frame_id, cloud), stamp_ns)

    def write_labels(
        self,
        topic: str,
        stamp_ns: int,
        frame_id: str,
        points: NDArray[np.float32],
        class_id: NDArray[np.uint8],
        probability: ArrayLike,
        colors: NDArray[np.uint8],
        instances: NDArray[np.uint16] | None = None,
    ) -> None:
        """A label cloud.

        points: (N, 3) metres in ``frame_id``. class_id, probability: (N,). colors: (256, 3) uint8 RGB by class id.
        instances: (N,) true instance ids of a simulator.
        """
        self.write_cloud(topic, stamp_ns, frame_id, encode_labels(points, class_id, probability, colors, instances))

    def write_image_bytes(
        self, topic: str, stamp_ns: int, frame_id: str, data: bytes | NDArray[np.uint8], format: str
    ) -> None:
        """A sensor_msgs/CompressedImage with the encoded bytes as they are. format: ``jpeg`` or ``png``."""
        self.write(topic, self._make.compressed_image(stamp_ns, frame_id, data, format), stamp_ns)

    def write_image(self, topic: str, stamp_ns: int, frame_id: str, image: NDArray[Any], encoding: str) -> None:
        """A sensor_msgs/Image. image: (H, W) or (H, W, C) of the encoding's own type (``rgb8``, ``mono16``, ...)."""
        self.write(topic, self._make.image(stamp_ns, frame_id, image, encoding), stamp_ns)

    def write_camera_info(
        self,
        topic: str,
        stamp_ns: int,
        frame_id: str,
        camera: CameraModel,
        R: ArrayLike | None = None,
        P: ArrayLike | None = None,
    ) -> None:
        """A sensor_msgs/CameraInfo. R: (3, 3), identity by default; P: (3, 4), ``[K | 0]`` by default."""
        self.write(topic, self._make.camera_info(stamp_ns, frame_id, camera, R, P), stamp_ns)

    def write_tf(self, stamp_ns: int, transforms: Iterable[Transform], topic: str = "/tf") -> None:
        """A tf2_msgs/TFMessage; every transform holds at ``stamp_ns``."""
        self.write(topic, self._make.transforms(stamp_ns, transforms), stamp_ns)

    def write_tf_static(self, stamp_ns: int, transforms: Iterable[Transform], topic: str = "/tf_static") -> None:
        """A tf2_msgs/TFMessage of transforms that never change, on a transient-local topic."""
        self.write(topic, self._make.transforms(stamp_ns, transforms), stamp_ns, transient_local=True)

    def write_odometry(
        self,
        topic: str,
        stamp_ns: int,
        frame_id: str,
        child_frame_id: str,
        T: NDArray[np.float64],
        linear: Sequence[float] = (0.0, 0.0, 0.0),
        angular: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> None:
        """A nav_msgs/Odometry.

        T: (4, 4) ``T_frame_child``. linear [m/s], angular [rad/s]: velocity in the child frame.
        """
        self.write(topic, self._make.odometry(stamp_ns, frame_id, child_frame_id, T, linear, angular), stamp_ns)

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        """A std_msgs/Header."""
        return self._make.header(stamp_ns, frame_id)

    # Inside -----------------------------------------------------------------------------------------------------------

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

    def _rename(self) -> None:
        assert self._partial is not None
        self._refuse_taken()  # somebody may have taken the name meanwhile
        if self.path.exists():
            self.path.rename(self._partial / "replaced")
        self.folder.rename(self.path)

    def _remove_partial(self) -> None:
        if self._partial is not None:
            shutil.rmtree(self._partial, ignore_errors=True)
