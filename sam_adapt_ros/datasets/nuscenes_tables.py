"""nuScenes' tables, read as JSON without the devkit.

The two large tables of the full data set (``sample_data``, ``ego_pose``: 2.6 million rows each) are read row by row,
and only rows of the chosen scenes are kept.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.errors import BagError
from sam_adapt_ros.geometry.transforms import make_transform

LIDAR = "LIDAR_TOP"
_CHUNK = 1 << 20
_SAMPLE_DATA_FIELDS = ("token", "sample_token", "ego_pose_token", "timestamp", "filename")


@dataclass(frozen=True, slots=True, eq=False)
class Sensor:
    """One calibrated sensor of a scene. T_base_sensor: (4, 4); K: (3, 3), cameras only."""

    channel: str
    T_base_sensor: NDArray[np.float64]
    K: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One file of one sensor. T_map_base: (4, 4) ego pose at the stamp. labels: lidarseg file of LiDAR keyframes."""

    stamp_ns: int
    channel: str
    path: Path
    T_map_base: NDArray[np.float64]
    labels: Path | None


@dataclass(slots=True, eq=False)
class Scene:
    """A scene's LiDAR and camera recordings, in the order of their stamps."""

    name: str
    sensors: dict[str, Sensor] = field(default_factory=dict)
    recordings: list[Recording] = field(default_factory=list)

    @property
    def files(self) -> Iterator[Path]:
        for recording in self.recordings:
            yield recording.path
            if recording.labels is not None:
                yield recording.labels


def read_scenes(root: Path, names: Sequence[str] = (), sweeps: bool = False, version: str = "") -> list[Scene]:
    """The chosen scenes of the data set in ``root``, in the table's order.

    names: scene names or patterns (``scene-0061``, ``scene-10*``); none: all scenes.
    sweeps: also what lies between the keyframes. version: ``v1.0-mini`` and so on; "": the only one there.
    Raises BagError that names the missing table, row, field or scene.
    """
    folder = _tables_folder(root, version)
    tokens = _select(folder, names)
    scenes = {token: Scene(name) for token, name in tokens.items()}
    samples = {r["token"]: r["scene_token"] for r in _rows(folder, "sample") if r["scene_token"] in scenes}
    sensors = _sensors(folder)
    labels = _labels(folder)

    chosen: list[tuple[dict[str, Any], Sensor]] = []
    for row in _rows(folder, "sample_data"):
        if row["sample_token"] in samples and (sweeps or row["is_key_frame"]):
            sensor = sensors.get(row["calibrated_sensor_token"])
            if sensor is not None:
                chosen.append(({name: row[name] for name in _SAMPLE_DATA_FIELDS}, sensor))
    wanted = {row["ego_pose_token"] for row, _ in chosen}
    poses = {row["token"]: _transform(row) for row in _rows(folder, "ego_pose") if row["token"] in wanted}

    for values, sensor in chosen:
        scene = scenes[samples[values["sample_token"]]]
        if scene.sensors.setdefault(sensor.channel, sensor) is not sensor:
            raise BagError(f"{folder}: {scene.name}: two calibrations of {sensor.channel}")
        if values["ego_pose_token"] not in poses:
            raise BagError(f"{folder / 'ego_pose.json'}: row {values['ego_pose_token']} is missing")
        label_file = labels.get(values["token"])
        scene.recordings.append(
            Recording(
                stamp_ns=int(values["timestamp"]) * 1000,  # the tables count microseconds
                channel=sensor.channel,
                path=root / values["filename"],
                T_map_base=poses[values["ego_pose_token"]],
                labels=None if label_file is None else root / label_file,
            )
        )
    for scene in scenes.values():
        scene.recordings.sort(key=lambda recording: (recording.stamp_ns, recording.channel))
        if LIDAR not in scene.sensors:
            raise BagError(f"{folder / 'sample_data.json'}: {scene.name} has no {LIDAR} rows")
    return list(scenes.values())


def iterate_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON file that holds one list, one at a time, in memory that does not grow with the file.

    Raises BagError that names the file when it is missing or is not such a list.
    """
    decoder = json.JSONDecoder()
    try:
        with path.open(encoding="utf-8") as file:
            text, position, started = "", 0, False
            for chunk in iter(partial(file.read, _CHUNK), ""):
                text, position = text[position:] + chunk, 0
                while True:
                    position = _skip(text, position, " \t\r\n," if started else " \t\r\n")
                    if position == len(text):
                        break
                    if not started:
                        if text[position] != "[":
                            raise BagError(f"{path}: a list expected")
                        started, position = True, position + 1
                        continue
                    if text[position] == "]":
                        return
                    try:
                        row, position = decoder.raw_decode(text, position)
                    except json.JSONDecodeError:
                        break  # the rest of this row comes with the next chunk
                    if not isinstance(row, dict):
                        raise BagError(f"{path}: a list of objects expected")
                    yield row
    except FileNotFoundError:
        raise BagError(f"{path}: table is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BagError(f"{path}: cannot be read: {error}") from None
    raise BagError(f"{path}: not JSON, or cut short")


def _skip(text: str, position: int, blanks: str) -> int:
    while position < len(text) and text[position] in blanks:
        position += 1
    return position


class _Row(dict[str, Any]):
    """A row that names table and field when the field is missing."""

    path: Path

    def __missing__(self, key: str) -> Any:
        raise BagError(f"{self.path}: a row has no field {key!r}")


def _rows(folder: Path, table: str) -> Iterator[_Row]:
    path = folder / f"{table}.json"
    for values in iterate_rows(path):
        row = _Row(values)
        row.path = path
        yield row


def _tables_folder(root: Path, version: str) -> Path:
    if not root.is_dir():
        raise BagError(f"{root}: no such folder")
    if version:
        if not (root / version).is_dir():
            raise BagError(f"{root / version}: folder with nuScenes' tables is missing")
        return root / version
    found = sorted(path for path in root.glob("v[0-9]*") if (path / "scene.json").is_file())
    if not found:
        raise BagError(
            f"{root}: no folder with nuScenes' tables in it (v1.0-mini/scene.json, v1.0-trainval/scene.json)"
        )
    if len(found) > 1:
        raise BagError(f"{root}: several versions ({', '.join(path.name for path in found)}); name one")
    return found[0]


def _select(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Token -> name of the chosen scenes."""
    known = {row["token"]: row["name"] for row in _rows(folder, "scene")}
    for pattern in names:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in known.values()):
            some = ", ".join(sorted(known.values())[:5])
            raise BagError(f"{folder / 'scene.json'}: no scene {pattern!r} (has {len(known)}: {some}, ...)")
    return {
        token: name for token, name in known.items() if not names or any(fnmatch.fnmatchcase(name, p) for p in names)
    }


def _sensors(folder: Path) -> dict[str, Sensor]:
    """Calibrated-sensor token -> the LiDAR and the cameras; radars are left out."""
    channels = {
        row["token"]: row["channel"]
        for row in _rows(folder, "sensor")
        if row["channel"] == LIDAR or row["modality"] == "camera"
    }
    sensors = {}
    for row in _rows(folder, "calibrated_sensor"):
        channel = channels.get(row["sensor_token"])
        if channel is not None:
            K = np.array(row["camera_intrinsic"], np.float64)
            if channel != LIDAR and K.shape != (3, 3):
                raise BagError(f"{row.path}: {channel}: camera_intrinsic: 3 x 3 numbers expected")
            sensors[row["token"]] = Sensor(channel, _transform(row), None if channel == LIDAR else K)
    return sensors


def _labels(folder: Path) -> dict[str, str]:
    """Sample-data token -> lidarseg file, where the lidarseg extension is installed."""
    if not (folder / "lidarseg.json").is_file():
        return {}
    return {row["sample_data_token"]: row["filename"] for row in _rows(folder, "lidarseg")}


def _transform(row: _Row) -> NDArray[np.float64]:
    rotation: Iterable[float] = row["rotation"]
    try:
        w, x, y, z = rotation
        return make_transform(row["translation"], (x, y, z, w))
    except (TypeError, ValueError) as error:
        raise BagError(f"{row.path}: row {row['token']}: not a pose: {error}") from None
