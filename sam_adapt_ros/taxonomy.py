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


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """A class set.

    classes: names; a class's id is its place.
    palette: (C, 3) uint8 RGB.
    mappings: by data set, raw id -> class id; raw ids that are not named are ignored (255).
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
        table = np.full(1 << 16, IGNORE, np.uint8)
        if not mapping:
            table[: len(self)] = np.arange(len(self), dtype=np.uint8)
            return table
        if mapping not in self.mappings:
            known = ", ".join(self.mappings) or "none"
            raise TaxonomyError(f"taxonomy {self.name}: no mapping {mapping!r} (known: {known})")
        for raw, class_id in self.mappings[mapping].items():
            table[raw] = class_id
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
            unknown = set(by_class) - set(names)
            if unknown:
                raise TaxonomyError(f"{path}: mappings.{dataset}: unknown class {sorted(unknown)}")
            mappings[dataset] = {int(raw): names.index(name) for name, raws in by_class.items() for raw in raws}
        return cls(str(data["name"]), names, palette.astype(np.uint8), mappings)
