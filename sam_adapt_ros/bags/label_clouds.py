"""The true labels of a bag's sweeps, found by their stamps."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

_KEPT = 128  # label clouds that may wait for their sweep
_TOLERANCE_NS = 1_000_000
"""Between the stamps of a sweep and its labels: seconds kept as float64 are rounded. Sweeps are far further apart."""


class LabelClouds:
    """Label clouds that were read and wait for their sweep."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, Any] = OrderedDict()  # by stamp
        self._read = self._sweeps = self._matched = self._replaced = 0
        self._newest_ns = 0  # sweep
        self._nearest_ns: int | None = None  # of the stamps' differences that did not match

    def add(self, stamp_ns: int, msg: Any) -> None:
        self._read += 1
        self._replaced += stamp_ns in self._waiting
        self._waiting[stamp_ns] = msg
        self._waiting.move_to_end(stamp_ns)
        if len(self._waiting) > _KEPT:
            self._waiting.popitem(last=False)

    def take(self, sweep_ns: int) -> Any | None:
        """The labels of the sweep with this stamp; None when there are none."""
        self._sweeps += 1
        self._newest_ns = max(self._newest_ns, sweep_ns)
        nearest = min(self._waiting, key=lambda stamp: abs(stamp - sweep_ns), default=None)
        if nearest is None:
            return None
        apart = nearest - sweep_ns
        if abs(apart) <= _TOLERANCE_NS:
            self._matched += 1
            return self._waiting.pop(nearest)
        if self._nearest_ns is None or abs(apart) < abs(self._nearest_ns):
            self._nearest_ns = apart
        return None

    def complaint(self) -> str:
        """A sentence when sweeps lack labels while there are labels that are no sweep's; else ""."""
        if self._nearest_ns is None:
            return ""
        if self._matched:
            lost = self._replaced + sum(stamp < self._newest_ns for stamp in self._waiting)
            bare = self._sweeps - self._matched
            text = (
                f"{bare} of {self._sweeps} sweeps have no true labels, while {lost} label clouds have the stamp of no "
                "sweep or of another label cloud, and are unused. Give label clouds the stamps of their sweeps"
            )
            return text if lost and bare else ""
        return (
            f"no label cloud has a sweep's stamp ({self._read} and {self._sweeps} were read): the nearest is "
            f"{self._nearest_ns / 1e9:+.6f} s off, at most {_TOLERANCE_NS / 1e9:g} s expected; the true labels are "
            "unused. Give label clouds the stamps of their sweeps"
        )
