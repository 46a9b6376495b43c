"""Which class an id of the lidarseg labels is: nuScenes-lidarseg's own 32, or what ``category.json`` says."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.datasets.files import read_file
from sam_adapt_ros.datasets.nuscenes_tables import iterate_rows
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.notices import Notices

NUSCENES_LIDARSEG = (
    "noise",
    "animal",
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.stroller",
    "human.pedestrian.wheelchair",
    "movable_object.barrier",
    "movable_object.debris",
    "movable_object.pushable_pullable",
    "movable_object.trafficcone",
    "static_object.bicycle_rack",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.car",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.motorcycle",
    "vehicle.trailer",
    "vehicle.truck",
    "flat.driveable_surface",
    "flat.other",
    "flat.sidewalk",
    "flat.terrain",
    "static.manmade",
    "static.other",
    "static.vegetation",
    "vehicle.ego",
)
"""By id, as in nuScenes-lidarseg's ``category.json``; class sets have a mapping ``nuscenes_lidarseg`` of these ids."""
_NOISE = 0
_INSTANCES = 1000  # panoptic ids are category * 1000 + instance
_NAMED = 8


@dataclass(frozen=True)
class LabelFiles:
    """Reads label files: lidarseg's ``.bin``, a uint8 a point, and panoptic's ``.npz``, whose array ``data`` has
    category * 1000 + instance (nutonomy/nuscenes-devkit, ``load_bin_file`` in ``python-sdk/nuscenes/utils/data_io.py``
    and ``panoptic_to_lidarseg``).

    ids: nuScenes-lidarseg's id of each of the 256 ids in the files.
    """

    ids: tuple[int, ...]

    def __call__(self, path: Path) -> NDArray[np.uint8]:
        """(N,) ids. Raises BagError that names the file, and what was expected."""
        data = read_file(path)
        if path.suffix != ".npz":
            return np.array(self.ids, np.uint8)[np.frombuffer(data, np.uint8)]
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                panoptic = arrays["data"]
        except Exception as error:  # damaged zip files raise errors of many types
            raise BagError(f"{path}: panoptic labels, an npz file with an array data, expected: {error}") from None
        category = panoptic // _INSTANCES if panoptic.dtype.kind in "iu" and panoptic.ndim == 1 else np.array([-1])
        if category.size and not 0 <= category.min() <= category.max() < len(self.ids):
            raise BagError(
                f"{path}: data: one whole number a point, category * 1000 + instance, expected, got "
                f"{panoptic.shape} {panoptic.dtype}"
            )
        return np.array(self.ids, np.uint8)[category]


def read_label_ids(tables: Path, notices: Notices) -> NDArray[np.uint8]:
    """(256,) uint8: nuScenes-lidarseg's id of each id in the label files, by the names in ``category.json``.

    Without a table, or without indices in it (nuScenes before lidarseg), ids are nuScenes-lidarseg's own. Ids that the
    table does not name, or whose names nuScenes-lidarseg does not have, become noise. Where it has none of the names,
    the class set is the data's own, and its ids are kept. ``notices`` is told of both.
    Raises BagError that names table and row when an index is not an id, or is there twice.
    """
    own = np.arange(256, dtype=np.uint8)
    path = tables / "category.json"
    names: dict[int, str] = {}
    for row in iterate_rows(path) if path.is_file() else ():
        if "index" in row:
            index = row.integer("index", 256)
            if index in names:
                raise BagError(f"{path}: index {index}: one name expected, got {names[index]!r} and {row['name']!r}")
            names[index] = row.text("name")
    known = {name: index for index, name in enumerate(NUSCENES_LIDARSEG)}
    foreign = [f"{index} {name}" for index, name in sorted(names.items()) if name not in known]
    some = ", ".join(foreign[:_NAMED]) + (", ..." if len(foreign) > _NAMED else "")
    if not names:
        return own
    if len(foreign) == len(names):
        notices.add(
            "categories",
            f"{path}: none of its classes is nuScenes-lidarseg's; the labels keep its ids ({some}): set "
            "ground_truth.mapping to a mapping of your class set that explains them",
        )
        return own
    if foreign:
        notices.add("categories", f"{path}: classes that nuScenes-lidarseg does not have become noise: {some}")
    ids = np.full(256, _NOISE, np.uint8)
    for index, name in names.items():
        ids[index] = known.get(name, _NOISE)
    return ids
