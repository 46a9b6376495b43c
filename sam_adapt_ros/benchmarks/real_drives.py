"""The labelled real drives that ``bench-real`` measures on: which frames, and which of them belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.benchmarks.stream import join
from sam_adapt_ros.config import Config
from sam_adapt_ros.datasets import Selection, open_dataset
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.taxonomy import Taxonomy

KARLSRUHE, SAN_FRANCISCO = "karlsruhe", "san_francisco"
FOLDERS = {KARLSRUHE: "semantickitti", SAN_FRANCISCO: "pandaset_002"}
"""Below the folder of real data."""


class Street(NamedTuple):
    """A real drive. frames: of the whole drive, in order, as a vehicle would see it.

    judged: places of the frames that models learn from and are compared on. block, fold: of each of these, what it
    belongs to when intervals are computed, and when the oracle is cross-validated.
    """

    frames: list[Frame]
    judged: list[int]
    block: list[int]
    fold: list[int]

    @property
    def judged_frames(self) -> list[Frame]:
        return [self.frames[place] for place in self.judged]


@dataclass(frozen=True)
class City:
    """A real drive by its name. rule: which frames are used, in words."""

    name: str
    title: str
    rule: str
    read: Callable[[Path, Taxonomy], Street]


def read_karlsruhe(folder: Path, taxonomy: Taxonomy) -> Street:
    dataset = open_dataset("semantickitti", [folder], Selection(cameras=("CAM_FRONT",)), taxonomy)
    places = [identity.partition("/")[0] for identity in dataset.ids]
    drives = [[dataset[place] for place, _ in group] for _, group in groupby(enumerate(places), lambda each: each[1])]
    block, frames = zip(*join(drives), strict=True)
    return Street(list(frames), list(range(len(frames))), list(block), [number // 2 for number in block])


def read_san_francisco(bag: Path, taxonomy: Taxonomy) -> Street:
    with BagReader(bag, san_francisco(taxonomy)) as reader:
        frames = list(reader.frames())
    judged = list(range(0, len(frames), 2))
    return Street(frames, judged, *(_parts(len(judged), count) for count in (6, 3)))


def san_francisco(taxonomy: Taxonomy) -> Config:
    """The topics of the bag; the front camera alone."""
    return Config.from_flat(
        {
            "taxonomy": taxonomy.name,
            "lidar.topic": "/pandar64/points",
            "lidar.deskew": False,  # PandaSet has undone the motion within its sweeps
            "cameras.front.image": "/camera/front/image_raw/compressed",
            "cameras.front.info": "/camera/front/camera_info",
            "ground_truth.mapping": "pandaset",
        }
    )


CITIES = {
    KARLSRUHE: City(
        KARLSRUHE,
        "Karlsruhe (SemanticKITTI)",
        "all 32 frames of 8 places, one camera; intervals over the places; oracle: learned from six places, judged on "
        "two, four times",
        read_karlsruhe,
    ),
    SAN_FRANCISCO: City(
        SAN_FRANCISCO,
        "San Francisco (PandaSet 002)",
        "every second of 38 sweeps, front camera; intervals over six stretches of the drive; oracle: learned from two "
        "thirds of the drive, judged on the other, three times",
        read_san_francisco,
    ),
}


def folder_of(city: str, data: Path) -> Path:
    """Raises BagError when the drive is not there."""
    folder = data / FOLDERS[city]
    if not folder.is_dir():
        raise BagError(f"{folder}: is missing: the drive of {CITIES[city].title} is expected there")
    return folder


def _parts(count: int, parts: int) -> list[int]:
    """The part of each of ``count`` frames, parts being of successive ones."""
    return [part for part, places in enumerate(np.array_split(np.arange(count), parts)) for _ in places]
