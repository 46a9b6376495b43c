"""``sensor_msgs/PointCloud2`` <-> arrays. Any object with the message's attributes will do (rclpy, rosbags)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam_adapt_ros.errors import MessageError

_KINDS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
"""numpy kinds by ``sensor_msgs/PointField`` datatype."""
_INTENSITIES = ("intensity", "reflectivity", "remission", "reflectance")
"""Fields with the strength of the returns, the first one that there is."""
_DATATYPES = {np.dtype(kind): datatype for datatype, kind in _KINDS.items()}

FieldSpec = tuple[str, int, int, int]
"""name, offset in bytes, PointField datatype, count."""


@dataclass(frozen=True, eq=False)
class CloudData:
    """The content of a PointCloud2 of height 1, little-endian: ``row_step`` is ``len(data)``.

    data: contiguous (width * point_step,) uint8.
    """

    data: NDArray[np.uint8]
    point_step: int
    fields: list[FieldSpec]
    width: int


@dataclass(frozen=True, eq=False)
class Cloud:
    """A decoded cloud; organized clouds are flattened row by row.

    points: (N, 3) float32 metres in the message's frame, non-finite rows included; read-only where it is the
        message's own memory.
    columns: the fields that can be read by name, in the message's byte order; see ``field``.
    """

    points: NDArray[np.float32]
    columns: Mapping[str, NDArray[Any]] = field(repr=False)
    _unreadable: Mapping[str, str] = field(repr=False)

    def __len__(self) -> int:
        return len(self.points)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of all fields that can be read."""
        return tuple(self.columns)

    def field(self, name: str) -> NDArray[Any]:
        """A field's values, (N,) or (N, count), in the machine's byte order.

        Raises MessageError when there is none (``cloud_fields``), or its description is none of bytes that the points
        have (``cloud_layout``).
        """
        column = _find(name, self.columns, self._unreadable)
        return np.ascontiguousarray(column, column.dtype.newbyteorder("="))

    @property
    def intensity(self) -> NDArray[np.float32] | None:
        """See ``intensity_of``."""
        return intensity_of(self.columns)

    def exact_points(self) -> NDArray[np.float64]:
        """(N, 3) as ``points``, with the digits of float64 fields: float32 rounds coordinates in UTM by decimetres."""
        with np.errstate(invalid="ignore"):  # signalling NaN
            return np.stack([self.columns[name].astype(np.float64) for name in "xyz"], axis=1)


def read_points(msg: Any) -> Cloud:
    """Decodes a PointCloud2.

    Raises MessageError with reason ``cloud_layout`` (sizes that contradict each other, coordinates beyond the points'
    bytes) or ``cloud_fields`` (x, y or z missing or not a floating-point number).
    """
    columns, unreadable = _columns(msg)
    axes = [_find(name, columns, unreadable) for name in "xyz"]
    for name, axis in zip("xyz", axes, strict=True):
        if axis.dtype.kind != "f" or axis.ndim != 1:
            raise MessageError("cloud_fields", f"point cloud: {name}: one float expected, got {_describe(axis)}")
    return Cloud(_points(axes), columns, unreadable)


def read_labels(msg: Any) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.float32] | None]:
    """Decodes a label cloud, whose classes are in the field ``class_id`` or, as other data sets have it, ``label``.

    Returns points (N, 3) float32, class ids (N,) of the integer type that they have, and the probability (N,) float32,
    None where there is none. Whole numbers as floats become int64, non-finite ones -1. Raises MessageError as
    ``read_points``.
    """
    cloud = read_points(msg)
    name = "label" if "class_id" not in cloud.fields and "label" in cloud.fields else "class_id"
    class_id = cloud.field(name)
    if class_id.ndim != 1:
        raise MessageError("cloud_fields", f"label cloud: {name}: one number expected, got {_describe(class_id)}")
    if class_id.dtype.kind == "f":
        finite = np.isfinite(class_id)
        whole = np.where(finite, class_id, -1).astype(np.int64)
        if (broken := finite & (whole != class_id)).any():
            raise MessageError(
                "cloud_fields", f"label cloud: {name}: whole numbers expected, got {class_id[broken][0]}"
            )
        class_id = whole
    probability = cloud.field("probability").astype(np.float32) if "probability" in cloud.fields else None
    return cloud.points, class_id, probability


def intensity_of(fields: Mapping[str, NDArray[Any]]) -> NDArray[np.float32] | None:
    """(N,) strength of the returns as the sensor gives it, from the fields of a cloud by name; None where there is no
    such field of one number a point."""
    column = next((fields[name] for name in _INTENSITIES if name in fields), None)
    if column is None or column.ndim != 1:
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # float64 beyond float32's range
        return np.ascontiguousarray(column, np.float32)


def encode_labels(
    points: NDArray[np.float32],
    class_id: NDArray[np.integer],
    probability: ArrayLike,
    colors: NDArray[np.uint8],
    instances: NDArray[np.uint16] | None = None,
) -> CloudData:
    """The label cloud: ``x y z`` float32, ``rgb`` (0x00RRGGBB in the bits of a float32, as RViz and PCL have it),
    ``class_id`` uint8, ``probability`` float32.

    points: (N, 3) metres; class_id: (N,); probability: (N,) or scalar; colors: (256, 3) uint8 RGB by class id. A data
    set whose ids go beyond 255 has more colours; its ``class_id`` is uint16.
    instances: (N,) true instance ids of a simulator; adds a field ``instance``.
    """
    class_id = np.asarray(class_id, np.uint8 if len(colors) <= 256 else np.uint16)
    r, g, b = colors.astype(np.uint32).T
    fields = dict(zip("xyz", np.asarray(points, np.float32).T, strict=True))
    fields |= {"rgb": (r << 16 | g << 8 | b)[class_id].view(np.float32), "class_id": class_id}
    if instances is not None:
        fields["instance"] = np.asarray(instances, np.uint16)
    fields["probability"] = np.broadcast_to(np.asarray(probability, np.float32), class_id.shape)
    return encode_cloud(fields)


def encode_cloud(fields: Mapping[str, ArrayLike]) -> CloudData:
    """A cloud of any fields, in the mapping's order, each at a multiple of its size.

    fields: name -> (N,) array of an integer of at most 32 bits or a float.
    Raises ValueError when the lengths differ or a type has no PointField datatype.
    """
    arrays = {name: np.asarray(values) for name, values in fields.items()}
    lengths = {name: array.shape for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or any(array.ndim != 1 for array in arrays.values()):
        raise ValueError(f"fields: one-dimensional arrays of one length expected, got {lengths}")
    for name, array in arrays.items():
        if array.dtype.newbyteorder("=") not in _DATATYPES:
            raise ValueError(f"fields: {name}: a PointField has no type for {array.dtype}")
    layout = np.dtype([(name, array.dtype.newbyteorder("<")) for name, array in arrays.items()], align=True)
    (count,) = next(iter(lengths.values()))
    rows = np.zeros(count, layout)
    for name, array in arrays.items():
        rows[name] = array
    offsets = {name: entry[1] for name, entry in (layout.fields or {}).items()}
    specs = [(name, offsets[name], _DATATYPES[array.dtype.newbyteorder("=")], 1) for name, array in arrays.items()]
    return CloudData(rows.view(np.uint8), layout.itemsize, specs, count)


def _find(name: str, columns: Mapping[str, NDArray[Any]], unreadable: Mapping[str, str]) -> NDArray[Any]:
    if name in unreadable:
        raise MessageError("cloud_layout", f"point cloud: field {name}: {unreadable[name]}")
    if name not in columns:
        names = ", ".join(columns) or "none"
        raise MessageError("cloud_fields", f"point cloud: no field {name} (fields: {names})")
    return columns[name]


def _columns(msg: Any) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Every field by name, flattened row by row: a view of the message's memory, or a copy where rows are padded.

    Also the fields that cannot be read, with the reason: an error for who needs them only, since drivers leave
    descriptions of fields behind that are not sent any more.
    """
    width, height, step = int(msg.width), int(msg.height), int(msg.point_step)
    count, data = width * height, np.frombuffer(msg.data, np.uint8)
    if count and step < 1:
        raise MessageError("cloud_layout", f"point cloud: point_step: a positive size expected, got {step}")
    row_step = _row_step(width, height, step, int(msg.row_step), len(data))
    order = ">" if msg.is_bigendian else "<"
    columns: dict[str, NDArray[Any]] = {}
    unreadable: dict[str, str] = {}
    for spec in msg.fields:
        name, offset, repeat = str(spec.name), int(spec.offset), max(int(spec.count), 1)
        kind = _KINDS.get(int(spec.datatype))
        if kind is None:
            unreadable[name] = f"unknown datatype {spec.datatype}"
            continue
        dtype = np.dtype(order + kind)
        if count == 0:
            columns[name] = np.empty(0, dtype)
        elif offset + repeat * dtype.itemsize > step:
            unreadable[name] = f"bytes beyond point_step = {step} (offset {offset})"
        else:
            column = np.ndarray((height, width, repeat), dtype, data, offset, (row_step, step, dtype.itemsize))
            columns[name] = column.reshape(count, repeat) if repeat > 1 else column[:, :, 0].reshape(count)
    return columns, unreadable


def _row_step(width: int, height: int, step: int, row_step: int, size: int) -> int:
    """The bytes from row to row. Without padding these follow from the other sizes, whatever the message says: drivers
    leave 0 in ``row_step``, the size of the whole cloud, or that before they cropped it."""
    row = width * step
    if size == row * height:
        return row
    if row_step >= row and size in (row_step * height, row_step * (height - 1) + row):
        return row_step
    raise MessageError(
        "cloud_layout",
        f"point cloud: data: {row * height} bytes (width x height x point_step) expected, or rows of row_step = "
        f"{row_step}, got {size}",
    )


def _points(axes: list[NDArray[Any]]) -> NDArray[np.float32]:
    """(N, 3) float32 in native byte order: in one strided read when x, y, z are adjacent, as they nearly always are."""
    x, size = axes[0], axes[0].dtype.itemsize
    addresses = [axis.__array_interface__["data"][0] for axis in axes]
    adjacent = addresses == [addresses[0], addresses[0] + size, addresses[0] + 2 * size]
    with np.errstate(over="ignore", invalid="ignore"):  # float64 beyond float32's range becomes infinite
        if len(x) == 0 or not adjacent or any(axis.dtype != x.dtype for axis in axes):
            return np.stack([axis.astype(np.float32) for axis in axes], axis=1)
        block = np.lib.stride_tricks.as_strided(x, (len(x), 3), (x.strides[0], size), writeable=False)
        return np.ascontiguousarray(block, np.float32)


def _describe(array: NDArray[Any]) -> str:
    return f"{array.dtype}" if array.ndim == 1 else f"{array.shape[1]} x {array.dtype}"


if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("sam_adapt_ros writes little-endian messages from memory as it is: little-endian machine needed")
