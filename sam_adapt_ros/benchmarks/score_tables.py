"""Tables of scores on unseen drives, with 95 % intervals, in which a difference that may be noise is called so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.benchmarks.unseen_drives import KEYS, Score
from sam_adapt_ros.evaluation.intervals import Bootstrap, Estimate
from sam_adapt_ros.evaluation.segmentation_metrics import FUSED_SEEN
from sam_adapt_ros.visualization.markdown import markdown_table

ALL = "all shifts"
MIN_RECOVERED, MIN_RECOVERED_LOW, MIN_WORST_SEED = 0.5, 0.3, -0.005
"""Wanted of adaptation on every shift: the recovered share, the lower end of its interval, the worst seed's change."""


@dataclass(frozen=True)
class Row:
    """One model on one shift, or on ``ALL``. Estimates over the unseen drives of all seeds.

    miou, over_source, recovered: by ``KEYS``, the mean IoU, its difference to the source's, and the share that this is
    of the oracle's difference. over_normalization, over_reference: of ``FUSED_SEEN``. worst_seed: the lowest change of
    that against the source of any seed.
    """

    shift: str
    model: str
    miou: dict[str, Estimate]
    over_source: dict[str, Estimate]
    recovered: dict[str, Estimate]
    over_normalization: Estimate
    over_reference: Estimate
    worst_seed: float


class ScoreTable:
    """Rows by shift and model; drives are drawn with replacement, those that share a model together."""

    def __init__(self, scores: Sequence[Score], source: str, normalization: str, reference: str, oracle: str) -> None:
        """The names of the models that others are compared with. oracle: "" for none."""
        self.scores = tuple(scores)
        self._source, self._normalization, self._reference, self._oracle = source, normalization, reference, oracle
        self.models = list(dict.fromkeys(score.model for score in scores))
        self.shifts = list(dict.fromkeys(score.shift for score in scores))

    def row(self, shift: str, model: str) -> Row:
        """Raises KeyError."""
        return self._by_name[shift, model]

    @cached_property
    def rows(self) -> list[Row]:
        shifts = [*self.shifts, *([ALL] if len(self.shifts) > 1 else [])]
        return [self._row(shift, model) for shift in shifts for model in self.models]

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], Row]:
        return {(row.shift, row.model): row for row in self.rows}

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the fused labels where a camera sees."""
        header = ["shift", "model", "fused, seen", "- source", f"- {self._normalization}", f"- {self._reference}"]
        return [*header, "recovered", "worst seed"], [self._cells(row) for row in self.rows]

    def branches(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the branches, and of the fused labels of all points."""
        keys = [key for key in KEYS if key != FUSED_SEEN]
        names = "- source", *(["recovered"] if self._oracle else [])
        header = ["shift", "model", *(cell for key in keys for cell in (_title(key), *names))]
        return header, [
            [row.shift, row.model, *(cell for key in keys for cell in self._cells_of(row, key))] for row in self.rows
        ]

    def verdicts(self) -> list[str]:
        """What is wanted of the reference on every shift, and whether it is so."""
        lines = []
        for shift in self.shifts:
            row = self.row(shift, self._reference)
            recovered = row.recovered[FUSED_SEEN]
            found = [
                _verdict("recovered", recovered.text(2), recovered.value >= MIN_RECOVERED, ">= 0.5"),
                _verdict("its lower end", f"{recovered.low:.2f}", recovered.low >= MIN_RECOVERED_LOW, ">= 0.3"),
                _verdict("worst seed", f"{row.worst_seed:+.3f}", row.worst_seed >= MIN_WORST_SEED, ">= -0.005"),
                _verdict(
                    f"over {self._normalization}",
                    row.over_normalization.text(difference=True),
                    row.over_normalization.value > 0,
                    "> 0",
                ),
            ]
            lines.append(f"{shift}: {'; '.join(found if self._oracle else found[2:])}")
        return lines

    def markdown(self, note: str) -> str:
        """Both tables and the verdicts."""
        seeds = sorted({score.seed for score in self.scores})
        text = (
            f"{note} Learned from the drives of seeds {', '.join(map(str, seeds))}; "
            f"{len({score.unseen for score in self.scores})} unseen drives a shift. Mean IoU over the classes that a "
            "drive has, mean over the drives; in brackets 95 % intervals (bootstrap over the drives learned from and, "
            "within them, the unseen ones; differences are paired).\n\n"
        )
        verdicts = "".join(f"* {line}\n" for line in self.verdicts())
        return f"{text}{markdown_table(*self.table())}\n{markdown_table(*self.branches())}\n{verdicts}"

    def as_dict(self) -> list[dict[str, Any]]:
        return [asdict(row) for row in self.rows]

    def _cells(self, row: Row) -> list[str]:
        is_source = row.model == self._source
        return [
            row.shift,
            row.model,
            row.miou[FUSED_SEEN].text(),
            self._over(row, FUSED_SEEN),
            _against(row, row.over_normalization, self._normalization),
            _against(row, row.over_reference, self._reference),
            self._recovered(row, FUSED_SEEN),
            "" if is_source else f"{row.worst_seed:+.3f}",
        ]

    def _cells_of(self, row: Row, key: str) -> list[str]:
        cells = [row.miou[key].text(), self._over(row, key)]
        return [*cells, self._recovered(row, key)] if self._oracle else cells

    def _recovered(self, row: Row, key: str) -> str:
        return "" if row.model in (self._source, self._oracle) else row.recovered[key].text(2)

    def _over(self, row: Row, key: str) -> str:
        return _against(row, row.over_source[key], self._source)

    def _row(self, shift: str, model: str) -> Row:
        mine = [each for each in self.scores if shift in (each.shift, ALL)]
        drives = list(dict.fromkeys((each.shift, each.seed, each.unseen) for each in mine))
        by_drive = {(each.model, each.shift, each.seed, each.unseen): each.miou for each in mine}

        def values(name: str, key: str) -> NDArray[np.float64]:
            return np.array([by_drive.get((name, *drive), {}).get(key, np.nan) for drive in drives], np.float64)

        bootstrap = Bootstrap(len(drives), [drive[:2] for drive in drives], [drive[0] for drive in drives])
        own, source, oracle = ({key: values(name, key) for key in KEYS} for name in (model, self._source, self._oracle))
        change = own[FUSED_SEEN] - source[FUSED_SEEN]
        by_seed = [
            np.nanmean([change[place] for place, drive in enumerate(drives) if drive[:2] == pair])
            for pair in dict.fromkeys(drive[:2] for drive in drives)
        ]
        return Row(
            shift,
            model,
            {key: bootstrap.mean(own[key]) for key in KEYS},
            {key: bootstrap.difference(own[key], source[key]) for key in KEYS},
            {key: bootstrap.recovered(source[key], own[key], oracle[key]) for key in KEYS},
            bootstrap.difference(own[FUSED_SEEN], values(self._normalization, FUSED_SEEN)),
            bootstrap.difference(own[FUSED_SEEN], values(self._reference, FUSED_SEEN)),
            float(min(by_seed)),
        )


def _title(key: str) -> str:
    return {"2d": "2D", "3d": "3D", "fused": "fused, all points"}.get(key, key)


def _against(row: Row, difference: Estimate, other: str) -> str:
    return "" if row.model == other else difference.text(difference=True)


def _verdict(name: str, value: str, met: bool, target: str) -> str:
    return f"{name} {value} {'meets' if met else 'MISSES'} {target}"
