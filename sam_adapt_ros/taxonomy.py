"""Class sets: names, palettes, and mappings from raw data-set ids. One YAML a class set in ``config/taxonomies``."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from sam_adapt_ros import resources
from sam_adapt_ros.errors import TaxonomyError
from sam_adapt_ros.frame import IGNORE

IGNORE_COLOR = (90, 90, 90)
IGNORED_IDS = "ignored"
"""Key of a mapping in a YAML file: the raw ids that belong to no class. With it the mapping is complete."""
_RAW_IDS = 1 << 16


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """A class set.

    classes: names; a class's id is its place.
    palette: (C, 3) uint8 RGB.
    mappings: by data set, raw id -> class id, 255 for those that are ignored. A mapping that names ignored ids is
        complete: other ids are of another data set. Without any, all ids that are not named are ignored.
    """

    name: str
    classes: tuple[str, ...]
    palette: NDArray[np.uint8]
    mappings: dict[str, dict[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.classes)

    @cached_property
    def colors(self) -> NDArray[np.uint8]:
        """(256, 3) uint8 RGB by class id; grey for ``ignore``."""
        colors = np.full((256, 3), IGNORE_COLOR, np.uint8)
        colors[: len(self)] = self.palette
        return colors

    def lookup(self, mapping: str) -> NDArray[np.uint8]:
        """(65536,) uint8 table: raw id of the named data set -> class id or 255. "" is the identity.

        Raises TaxonomyError when the class set has no such mapping.
        """
        table = np.full(_RAW_IDS, IGNORE, np.uint8)
        if not mapping:
            table[: len(self)] = np.arange(len(self), dtype=np.uint8)
            return table
        if mapping not in self.mappings:
            known = ", ".join(self.mappings) or "none"
            raise TaxonomyError(f"taxonomy {self.name}: no mapping {mapping!r} (known: {known})")
        for raw, class_id in self.mappings[mapping].items():
            table[raw] = class_id
        return table

    def classes_of(
        self, raw: NDArray[np.integer], mapping: str, setting: str = "ground_truth.mapping"
    ) -> NDArray[np.uint8]:
        """(N,) class ids, 255 = none, of a label cloud's raw ids by the named mapping; "" is the identity.

        -1, and 255 where the mapping does not name it, stand for no label. Of ids beyond 16 bits the lower 16 are the
        class; SemanticKITTI has the instance in the upper ones. setting: where a user chooses the mapping; "": nowhere.
        Raises TaxonomyError that names the ids which the mapping does not explain, and mappings that do.
        """
        low = raw.astype(np.int64) & (_RAW_IDS - 1)
        labelled = raw != -1
        unknown = labelled & ~self._explained(mapping)[low]
        if unknown.any():
            ids, foreign = (np.unique(low[which]) for which in (labelled, unknown))
            fitting = [name for name in self.mappings if self._explained(name, strict=True)[ids].all()]
            listed = ", ".join(map(str, foreign[:8])) + (", ..." if len(foreign) > 8 else "")
            hint = (
                f"set {setting} to {' or '.join(fitting)}"
                if fitting and setting
                else (
                    f"none of the mappings of {self.name} explains them ({', '.join(self.mappings) or 'it has none'})"
                )
            )
            are = f"not in the mapping {mapping} of taxonomy {self.name}"
            if not mapping:
                are = f"no classes of taxonomy {self.name} (0 to {len(self) - 1})"
            raise TaxonomyError(f"class ids {listed} are {are}; {hint}")
        return np.where(labelled, self.lookup(mapping)[low], np.uint8(IGNORE))

    def _explained(self, mapping: str, strict: bool = False) -> NDArray[np.bool_]:
        """(65536,) bool: the raw ids that a mapping says something of. strict: that it names, complete or not."""
        named = self.mappings[mapping] if mapping else dict.fromkeys(range(len(self)), 0)
        table = np.full(_RAW_IDS, not strict and bool(mapping) and IGNORE not in named.values())
        table[[*named, IGNORE]] = True
        return table

    @classmethod
    def load(cls, name: str) -> Taxonomy:
        """The shipped class set of that name, or the one in a YAML file of that path.

        Raises TaxonomyError that names the file and the field.
        """
        try:
            path = resources.find(name, "config/taxonomies")
        except FileNotFoundError as error:
            raise TaxonomyError(f"taxonomy: {error}") from None
        try:
            return cls._parse(yaml.safe_load(path.read_text(encoding="utf-8")), path)
        except (KeyError, TypeError, AttributeError, ValueError, yaml.YAMLError) as error:
            raise TaxonomyError(f"{path}: not a taxonomy ({type(error).__name__}: {error})") from None

    @classmethod
    def _parse(cls, data: dict, path: Path) -> Taxonomy:
        names = tuple(entry["name"] for entry in data["classes"])
        if not 1 <= len(names) <= IGNORE or len(set(names)) != len(names):
            raise TaxonomyError(f"{path}: classes: 1 to {IGNORE} different names expected, got {len(names)}")
        palette = np.array([entry["color"] for entry in data["classes"]])
        if palette.shape != (len(names), 3) or palette.min() < 0 or palette.max() > 255:
            raise TaxonomyError(f"{path}: classes: color: three integers from 0 to 255 expected a class")
        mappings: dict[str, dict[int, int]] = {}
        for dataset, by_class in data.get("mappings", {}).items():
            unknown = set(by_class) - {*names, IGNORED_IDS}
            if unknown:
                raise TaxonomyError(f"{path}: mappings.{dataset}: unknown class {sorted(unknown)}")
            class_ids = {IGNORED_IDS: IGNORE} | {name: place for place, name in enumerate(names)}
            mapping = {int(raw): class_ids[name] for name, raws in by_class.items() for raw in raws}
            if len(mapping) != sum(map(len, by_class.values())) or not all(0 <= raw < _RAW_IDS for raw in mapping):
                raise TaxonomyError(f"{path}: mappings.{dataset}: ids from 0 to {_RAW_IDS - 1}, each once, expected")
            mappings[dataset] = mapping
        return cls(str(data["name"]), names, palette.astype(np.uint8), mappings)
