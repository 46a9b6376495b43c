"""nuScenes' scenes and the parts that they are split into.

The official parts are those of nutonomy/nuscenes-devkit (``python-sdk/nuscenes/utils/splits.py``). Domain adaptation
splits them by country (the log's location) or by night (the scene's description), and holds scenes of the target's
training part out for validation: valeoai/xmuda_journal, ``xmuda/data/nuscenes_lidarseg/splits.py`` and
``preprocess.py``. Its test part is the official ``val``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sam_adapt_ros.datasets.nuscenes_tables import Row, Tables
from sam_adapt_ros.datasets.selection import listed
from sam_adapt_ros.errors import BagError

Domain = Literal["", "usa", "singapore", "day", "night"]


def _scenes(numbers: str) -> frozenset[str]:
    """The names of scenes by their numbers, ranges included: ``1-2 4``."""
    names: set[str] = set()
    for part in numbers.split():
        first, _, last = part.partition("-")
        names.update(f"scene-{number:04d}" for number in range(int(first), int(last or first) + 1))
    return frozenset(names)


TRAIN = _scenes(
    "1-2 4-11 19-34 41-76 120-135 138-139 149-152 154-155 157-168 170-185 187-188 190-196 199-200 202-204 206-214 "
    "218-220 222 224-264 283-306 315-318 321 323-324 328 347-386 388-403 405-408 410-459 461-465 467-469 471-472 "
    "474-480 499-502 504-515 517-518 525-539 541-546 566 568 570-578 580 582-600 639-679 681 683-689 695-698 700-701 "
    "703-719 726-728 730-731 733-741 744 746-747 749-752 757-765 767-769 786-787 789-792 803-806 808-813 815-817 "
    "819-822 847-856 858 860-866 868-873 875-878 880 882-903 945 947 949 952-953 955-961 975-984 988-992 994-1025 "
    "1044-1058 1074-1102 1104-1110"
)
VAL = _scenes(
    "3 12-18 35-36 38-39 92-110 221 268-278 329-332 344-346 519-524 552-565 625-627 629-630 632-638 770-771 775 "
    "777-778 780-784 794-800 802 904-917 919-931 962-963 966-969 971-972 1059-1073"
)
MINI_TRAIN = _scenes("61 553 655 757 796 1077 1094 1100")
MINI_VAL = _scenes("103 916")
VAL_SINGAPORE = _scenes("4-11 45-54 347-349 356-359 786 787 789-792 847-856 858 860-866 975-984 988-991 1044 1106-1110")
VAL_NIGHT = _scenes("1044-1058")


@dataclass(frozen=True)
class Split:
    """official: scenes of the official part. domain: which of them; "": all. held_out: scenes of the training part that
    the target is validated on; kept: whether these alone are the split, or what is left without them."""

    official: frozenset[str]
    domain: Domain = ""
    held_out: frozenset[str] = frozenset()
    kept: bool = False

    def members(self, scenes: Mapping[str, Scene]) -> set[str]:
        """Names of the split's scenes. scenes: of the tables, by name. Of others it is not known whether they are of
        the domain; those of the official part are counted in, so that they are missed."""
        names = {name for name in self.official if (name in self.held_out) == self.kept}
        return {name for name in names if not self.domain or name not in scenes or self.domain in scenes[name].domains}


SPLITS = {
    "train": Split(TRAIN),
    "val": Split(VAL),
    "mini_train": Split(MINI_TRAIN),
    "mini_val": Split(MINI_VAL),
    "usa_train": Split(TRAIN, "usa"),
    "usa_test": Split(VAL, "usa"),
    "singapore_train": Split(TRAIN, "singapore", VAL_SINGAPORE),
    "singapore_val": Split(TRAIN, "singapore", VAL_SINGAPORE, kept=True),
    "singapore_test": Split(VAL, "singapore"),
    "day_train": Split(TRAIN, "day"),
    "day_test": Split(VAL, "day"),
    "night_train": Split(TRAIN, "night", VAL_NIGHT),
    "night_val": Split(TRAIN, "night", VAL_NIGHT, kept=True),
    "night_test": Split(VAL, "night"),
}


@dataclass(frozen=True)
class Scene:
    """domains: of the country and of the time of day, as the splits call them."""

    token: str
    name: str
    domains: frozenset[str]


def find_split(name: str) -> Split | None:
    """A split by its name; None for "". Raises BagError that lists the splits."""
    if name and name not in SPLITS:
        raise BagError(f"nuscenes: split: one of {listed(SPLITS)} expected, got {name!r}")
    return SPLITS[name] if name else None


def read_scenes(tables: Tables, split: Split | None) -> dict[str, Scene]:
    """The scenes of the tables by name, in their order. split: domains are looked up where it needs them.

    Raises BagError that names table, row and field, also where names are missing or there twice.
    """
    needed = split is not None and bool(split.domain)
    logs = {row.text("token"): row.text("location") for row in tables.rows("log")} if needed else {}
    rows = list(tables.rows("scene"))
    scenes = [Scene(row.text("token"), _name(row), _domains(row, logs) if needed else frozenset()) for row in rows]
    by_name = {scene.name: scene for scene in scenes}
    if len(by_name) < len(scenes) or not scenes:
        text = f"scenes of different names expected, got {len(scenes)} of {len(by_name)} names"
        raise BagError(f"{tables.path('scene')}: {text}")
    return by_name


def _domains(row: Row, logs: Mapping[str, str]) -> frozenset[str]:
    log = row.text("log_token")
    if log not in logs:
        raise row.error("log_token", "the token of a row in log.json")
    night = "night" in str(row["description"]).lower()
    countries = {"usa": "boston", "singapore": "singapore"}
    return frozenset([name for name, place in countries.items() if place in logs[log]] + ["night" if night else "day"])


def _name(row: Row) -> str:
    """A scene's name, which is to be that of a folder."""
    name = row.text("name")
    if Path(name).name != name or name == "..":
        raise row.error("name", "a name that a folder can have")
    return name
