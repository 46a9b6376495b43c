"""Measures every variant on drives."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.benchmarks.ablation.estimates import METRICS, estimates, total
from sam_adapt_ros.benchmarks.ablation.measurement import Bench, Measured
from sam_adapt_ros.benchmarks.ablation.variants import Variant, rows, sweeps
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.evaluation.intervals import Estimate, student
from sam_adapt_ros.io.outputs import write_text
from sam_adapt_ros.masks import build
from sam_adapt_ros.pipelines.bag_pseudo_labels import BagPseudoLabels
from sam_adapt_ros.progress import Stages, no_stages, track
from sam_adapt_ros.segmentation import load_segmenter

INSTANCES = "instances"


@dataclass(frozen=True, eq=False)
class Result:
    """One variant on one group of drives (the seeds of a domain): the measured frames by drive, and the estimates."""

    group: str
    variant: Variant
    drives: tuple[tuple[Measured, ...], ...]
    estimates: dict[str, Estimate]

    def by_class(self, place: int) -> dict[str, Estimate]:
        """coverage, precision and recall of one class, over the drives in which it occurs."""
        totals = [total(frames).seen for frames in self.drives]
        return {
            name: student([float(getattr(statistics, f"{name}_by_class")[place]) for statistics in totals])
            for name in ("coverage", "precision", "recall")
        }

    @property
    def parallax_share(self) -> float:
        """Share of the points seen by a camera that fall on a mask only by parallax; NaN where unknown."""
        totals = [total(frames) for frames in self.drives]
        parallax = sum(measured.parallax.points for measured in totals if measured.parallax is not None)
        points = sum(measured.seen.points for measured in totals if measured.parallax is not None)
        return parallax / points if points else math.nan


@dataclass(eq=False)
class Ablation:
    """results: by group, each group's variants in the same order, selection alone first."""

    classes: tuple[str, ...]
    results: list[Result]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def groups(self) -> dict[str, list[Result]]:
        found: dict[str, list[Result]] = {}
        for result in self.results:
            found.setdefault(result.group, []).append(result)
        return found

    def find(self, group: str, name: str) -> Result:
        """A row of the table. Raises KeyError."""
        for result in self.results:
            if result.group == group and result.variant.name == name and not result.variant.swept:
                return result
        raise KeyError(f"{group}: {name}")

    def as_dict(self) -> dict[str, Any]:
        return {**self.facts, "results": [self._as_dict(result) for result in self.results]}

    def write(self, folder: Path) -> None:
        """``ablation.json``, with everything, and ``ablation.csv``, the table."""
        write_text(folder / "ablation.json", json.dumps(self.as_dict(), indent=1) + "\n")
        bounds = [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")]
        table = io.StringIO(newline="")
        writer = csv.writer(table)
        writer.writerow(["group", "variant", "parameter", "value", *bounds])
        for result in self.results:
            variant = result.variant
            numbers = [number for name in METRICS for number in result.estimates[name]]
            writer.writerow([result.group, variant.name, variant.parameter, variant.value, *numbers])
        write_text(folder / "ablation.csv", table.getvalue())

    def _as_dict(self, result: Result) -> dict[str, Any]:
        variant = result.variant
        return {
            "group": result.group,
            "variant": variant.name,
            "parameter": variant.parameter or None,
            "value": variant.value,
            "generator": variant.generator or None,
            **{name: _plain(estimate) for name, estimate in result.estimates.items()},
            "classes": {
                name: {metric: _plain(estimate) for metric, estimate in result.by_class(place).items()}
                for place, name in enumerate(self.classes)
            },
        }


def ablate(
    drives: Mapping[str, Sequence[Path]],
    config: Config,
    generators: Sequence[str] = (),
    *,
    swept: bool = True,
    stages: Stages = no_stages,
) -> Ablation:
    """Measures every variant on bags.

    Args:
        drives: bags by group; those of a group are independent drives of one domain.
        generators: mask generators to compare with the configured one; empty: ``regions``, and ``instances`` where the
            bags have them.
        swept: whether to sweep every threshold as well.
        stages: opens a progress display per step.

    Raises:
        BagError: no bags, or a bag without frames or cameras.
        MaskError, WeightsError: as ``masks.build`` and ``load_segmenter``.
    """
    bags = [(group, bag) for group, paths in drives.items() for bag in paths]
    if not bags:
        raise BagError("ablation: at least one bag expected, got none")
    segmenter, config = load_segmenter(config)
    names = _generators(config, generators, [bag for _, bag in bags])
    built = {name: build(config.masks.model_copy(update={"generator": name})) for name in names}
    variants = rows(config.pseudo_labels, names)
    if swept:
        variants += sweeps(config.pseudo_labels, names[0])
    start = time.perf_counter()
    measured: dict[str, list[list[list[Measured]]]] = {}
    for group, bag in bags:
        with stages(f"{bag.name}: predicting") as progress:
            drive = BagPseudoLabels(bag, config, segmenter, built[names[0]], progress)
        bench = Bench(variants, built, config.pseudo_labels.visibility, drive)
        with stages(f"{bag.name}: measuring {len(variants)} variants") as progress:
            frames = track(drive.frames(), progress, len(drive.selections))
            of_drive = [bench.measure(place, frame) for place, (frame, _) in enumerate(frames)]
        if not of_drive:
            raise BagError(f"{bag}: no frames in the bag; check that it has sweeps and the configured topics")
        if not any(frame[0].seen.points for frame in of_drive):
            raise BagError(f"{bag}: no camera sees a point; pseudo-labels are of points that a camera sees")
        measured.setdefault(group, []).append(of_drive)
    facts = {
        "drives": {group: [str(bag) for bag in paths] for group, paths in drives.items()},
        "frames": sum(len(drive) for of_group in measured.values() for drive in of_group),
        "weights": segmenter.version,
        "masks": names[0],
        "seconds": round(time.perf_counter() - start, 1),
        "configuration": config.pseudo_labels.model_dump(),
    }
    results = [result for group, of_group in measured.items() for result in _results(group, variants, of_group)]
    return Ablation(segmenter.taxonomy.classes, results, facts)


def _results(group: str, variants: Sequence[Variant], drives: Sequence[Sequence[Sequence[Measured]]]) -> list[Result]:
    """drives: by drive, by frame, by variant."""
    by_variant = [tuple(tuple(frame[place] for frame in drive) for drive in drives) for place in range(len(variants))]
    return [
        Result(group, variant, mine, estimates(mine, by_variant[0]))
        for variant, mine in zip(variants, by_variant, strict=True)
    ]


def _generators(config: Config, others: Sequence[str], bags: Sequence[Path]) -> list[str]:
    """The configured generator and those to compare it with."""
    if not others:
        others = ["regions", INSTANCES] if all(_has_instances(bag, config) for bag in bags) else ["regions"]
    return list(dict.fromkeys([config.masks.generator, *others]))


def _has_instances(bag: Path, config: Config) -> bool:
    with BagReader(bag, config) as reader:
        return set(reader.roles.instances.values()) >= set(reader.roles.images.values())


def _plain(estimate: Estimate) -> list[float] | None:
    """[value, low, high] for JSON, which has no NaN."""
    if math.isnan(estimate.value):
        return None
    return [estimate.value, *(None if math.isnan(bound) else bound for bound in estimate[1:])]  # type: ignore[list-item]
