"""Tables of models on one real drive: one confusion over all frames, with 95 % intervals over blocks of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.benchmarks.adaptation import ADAPTED, NORMALIZATION, SOURCE
from sam_adapt_ros.benchmarks.real_drives import City
from sam_adapt_ros.benchmarks.real_models import STUDENTS
from sam_adapt_ros.benchmarks.unseen_drives import KEYS
from sam_adapt_ros.evaluation.confusion import Confusion, iou_of
from sam_adapt_ros.evaluation.intervals import Bootstrap, Estimate
from sam_adapt_ros.evaluation.segmentation_metrics import FUSED_SEEN, score_text
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization.markdown import markdown_table

MIN_GAIN, KNOWN_CLASS, MAX_CLASS_LOSS = 0.05, 0.3, 0.05
"""Wanted of the whole product: its gain over the source and over normalization only, and how much a class that the
source knows may lose."""
TITLES = {FUSED_SEEN: "fused, seen", "fused": "fused, all points", "2d": "2D", "3d": "3D"}


class ModelCounts(NamedTuple):
    """counts: (F, C, C + 1) by key and judged frame, see ``Confusion``. facts: of how the model was made."""

    counts: Mapping[str, NDArray[np.int64]]
    facts: Mapping[str, Any]


class CityTable:
    """models: by name. block: of each judged frame."""

    def __init__(self, city: City, taxonomy: Taxonomy, models: Mapping[str, ModelCounts], block: Sequence[int]) -> None:
        self.city, self.taxonomy, self.models = city, taxonomy, models
        self._bootstrap = Bootstrap(len(block), clusters=block)
        truth = next(iter(models.values())).counts
        self._has = {key: truth[key].sum(axis=(0, 2)) > 0 for key in KEYS}

    def miou(self, model: str, key: str = FUSED_SEEN) -> Estimate:
        """Over the classes that the truth has."""
        return self._bootstrap.statistic(lambda weights: self._mious(model, key, weights))

    def difference(self, model: str, other: str, key: str = FUSED_SEEN) -> Estimate:
        """The mean IoU of one model less that of another, over the same blocks."""
        return self._bootstrap.statistic(
            lambda weights: self._mious(model, key, weights) - self._mious(other, key, weights)
        )

    def published(self, model: str, key: str = FUSED_SEEN) -> float:
        """The mean IoU over all classes, those that do not occur as 0."""
        return self._confusion(model, key).miou_published()

    def iou(self, model: str, key: str = FUSED_SEEN) -> NDArray[np.float64]:
        """(C,) NaN for classes that the truth lacks."""
        return np.where(self._has[key], self._confusion(model, key).iou(), np.nan)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows: the fused labels where a camera sees, then the branches and all points."""
        others = [key for key in KEYS if key != FUSED_SEEN]
        header = ["model", TITLES[FUSED_SEEN], f"- {SOURCE}", f"- {NORMALIZATION}", "absent = 0"]
        rows = []
        for model in self.models:
            against = [
                ""
                if model == other or other not in self.models
                else self.difference(model, other).text(difference=True)
                for other in (SOURCE, NORMALIZATION)
            ]
            cells = [self.miou(model).text(), *against, score_text(self.published(model))]
            rows.append([model, *cells, *(self.miou(model, key).text() for key in others)])
        return [*header, *(TITLES[key] for key in others)], rows

    def classes(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows: IoU a class, fused where a camera sees; classes that the truth lacks are left out."""
        places = np.flatnonzero(self._has[FUSED_SEEN])
        counts = next(iter(self.models.values())).counts[FUSED_SEEN].sum(axis=(0, 2))
        shares = ["points, %", *(f"{100 * counts[place] / counts.sum():.1f}" for place in places)]
        rows = [[model, *(score_text(self.iou(model)[place]) for place in places)] for model in self.models]
        return ["IoU: fused, seen", *(self.taxonomy.classes[place] for place in places)], [shares, *rows]

    def pseudo_labels(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows: coverage / precision in % of what students learned from, over all and by class."""
        names = self.taxonomy.classes
        rows = []
        for model in STUDENTS:
            found = self.models[model].facts["pseudo_labels"] if model in self.models else None
            if found is not None:
                rows.append([model, _share(found), *(_share(found["classes"][name]) for name in names)])
        return ["coverage / precision, %", "all", *names], rows

    def verdicts(self) -> list[str]:
        """What is wanted of the whole product, and whether it is so."""
        if ADAPTED not in self.models:
            return []
        lines = []
        for other in (SOURCE, NORMALIZATION):
            gain = self.difference(ADAPTED, other)
            met = "meets" if gain.value >= MIN_GAIN else "MISSES"
            lines.append(f"{ADAPTED} over {other}: {gain.text(difference=True)} {met} >= +{MIN_GAIN}")
        before, after = self.iou(SOURCE), self.iou(ADAPTED)
        lost = [
            f"{name} {after[place] - before[place]:+.3f}"
            for place, name in enumerate(self.taxonomy.classes)
            if before[place] >= KNOWN_CLASS and after[place] < before[place] - MAX_CLASS_LOSS
        ]
        lines.append(f"classes with {KNOWN_CLASS} or more that lose over {MAX_CLASS_LOSS}: {', '.join(lost) or 'none'}")
        decisions = self.models[ADAPTED].facts.get("decisions", [])
        promoted = [decision["promoted"] for decision in decisions if decision["promoted"]]
        rounds = "1 round" if len(decisions) == 1 else f"{len(decisions)} rounds"
        lines.append(f"{rounds}, promoted: {', '.join(promoted) or 'nothing'}")
        return lines

    def markdown(self) -> str:
        frames = len(self._bootstrap.weights[0])
        text = (
            f"### {self.city.title}\n\n{self.city.rule}. One confusion over {frames} frames; mean IoU over the classes "
            "that the truth has, beside the published convention; in brackets 95 % intervals. The models in between "
            "learn, without labels, from the frames that they are judged on; "
            f"{ADAPTED}: the whole product with its gate.\n\n"
        )
        tables = "\n".join(markdown_table(*each) for each in (self.table(), self.classes(), self.pseudo_labels()))
        return f"{text}{tables}\n" + "".join(f"* {line}\n" for line in self.verdicts())

    def as_dict(self) -> dict[str, Any]:
        names = self.taxonomy.classes
        return {
            "rule": self.city.rule,
            "models": {
                model: {
                    "miou": {key: self.miou(model, key) for key in KEYS},
                    "over_source": {key: self.difference(model, SOURCE, key) for key in KEYS},
                    "published": {key: self.published(model, key) for key in KEYS},
                    "iou": {key: dict(zip(names, self.iou(model, key), strict=True)) for key in KEYS},
                    "facts": dict(found.facts),
                }
                for model, found in self.models.items()
            },
        }

    def _against(self, model: str, other: str) -> str:
        return "" if model == other or other not in self.models else self.difference(model, other).text(difference=True)

    def _confusion(self, model: str, key: str) -> Confusion:
        confusion = Confusion(len(self.taxonomy))
        confusion.counts = self.models[model].counts[key].sum(axis=0)
        return confusion

    def _mious(self, model: str, key: str, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """(R,) by (R, F) weights of the frames, over the classes that the truth has; one that a draw lacks has its IoU
        of all frames, since means over other classes in every draw could not be compared."""
        counts = np.tensordot(weights, self.models[model].counts[key], 1)
        iou = np.where(counts.sum(-1) > 0, iou_of(counts), self.iou(model, key))
        return iou[:, self._has[key]].mean(axis=-1)


def _share(found: Mapping[str, Any]) -> str:
    coverage, precision = (found[name] for name in ("coverage", "precision"))
    return "" if not coverage else f"{100 * coverage:.0f} / {'–' if precision is None else f'{100 * precision:.0f}'}"
