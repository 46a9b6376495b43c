"""How hard the town's domain shifts are for the source model, beside published ones: ``bench-domains``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sam_adapt_ros.benchmarks.adaptation import ORACLE, SOURCE, oracle_recipe, train_oracles
from sam_adapt_ros.benchmarks.unseen_drives import (
    KEYS,
    SHIFTS,
    VALIDATION_SEEDS,
    Protocol,
    Score,
    Task,
    UnseenDrives,
    drive_frames,
    measure_all,
    model_settings,
    one_thread,
)
from sam_adapt_ros.config import Config, PseudoLabelConfig
from sam_adapt_ros.evaluation.intervals import Bootstrap, Estimate
from sam_adapt_ros.evaluation.label_statistics import LabelStatistics
from sam_adapt_ros.evaluation.segmentation_metrics import FUSED_SEEN
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.io.outputs import write_text
from sam_adapt_ros.masks import build
from sam_adapt_ros.parallel import choose_engine
from sam_adapt_ros.pipelines import reference_models
from sam_adapt_ros.progress import Progress, Stages, no_stages, part_of, track
from sam_adapt_ros.pseudo_labels import PreparedFrame, PseudoLabelGenerator
from sam_adapt_ros.segmentation import Segmenter, load_segmenter
from sam_adapt_ros.simulation import domains_hash
from sam_adapt_ros.visualization.markdown import markdown_table

IMAGE = "2d"


class Wanted(NamedTuple):
    """A range in which a figure shows a domain shift like those between real data sets."""

    low: float
    high: float

    def mark(self, value: float) -> str:
        return " (below)" if value < self.low else " (above)" if value > self.high else ""


LOSS_FUSED, LOSS_2D = Wanted(0.06, 0.20), Wanted(0.12, 0.30)
COVERAGE, PRECISION = Wanted(0.45, 0.75), Wanted(0.85, 0.98)
PUBLISHED = {
    "nuScenes, USA -> Singapore": (0.682, 0.796, 0.584, 0.754),
    "nuScenes, Day -> Night": (0.633, 0.692, 0.478, 0.615),
    "Virtual KITTI -> SemanticKITTI": (0.422, 0.801, 0.268, 0.663),
    "A2D2 -> SemanticKITTI": (0.404, 0.736, 0.342, 0.593),
}
"""Mean IoU of source and oracle, both branches together and then 2D, as published with xMUDA (Jaritz et al., TPAMI
2022) and by those who compare with it."""
HEADER = (
    "shift",
    "source: fused, seen",
    "oracle",
    f"loss ({LOSS_FUSED.low:.2f} to {LOSS_FUSED.high:.2f})",
    "source: 2D",
    "oracle",
    f"loss ({LOSS_2D.low:.2f} to {LOSS_2D.high:.2f})",
    f"selected, % ({100 * COVERAGE.low:.0f} to {100 * COVERAGE.high:.0f})",
    f"of these right, % ({100 * PRECISION.low:.0f} to {100 * PRECISION.high:.0f})",
)


@dataclass(frozen=True)
class Calibration:
    """One shift. Estimates over drives: the unseen ones, and for the selection those that models learn from."""

    shift: str
    source: dict[str, Estimate]
    oracle: dict[str, Estimate]
    loss: dict[str, Estimate]
    coverage: Estimate
    precision: Estimate

    def cells(self) -> list[str]:
        fused, image = self.loss[FUSED_SEEN], self.loss[IMAGE]
        return [
            self.shift,
            self.source[FUSED_SEEN].text(),
            self.oracle[FUSED_SEEN].text(),
            fused.text() + LOSS_FUSED.mark(fused.value),
            self.source[IMAGE].text(),
            self.oracle[IMAGE].text(),
            image.text() + LOSS_2D.mark(image.value),
            _percent(self.coverage) + COVERAGE.mark(self.coverage.value),
            _percent(self.precision) + PRECISION.mark(self.precision.value),
        ]


def calibrate(
    config: Config,
    output: Path,
    shifts: Sequence[str] = SHIFTS,
    seeds: Sequence[int] = VALIDATION_SEEDS[:3],
    protocol: Protocol = Protocol(),
    jobs: int = 1,
    stages: Stages = no_stages,
    *,
    force: bool = False,
) -> list[Calibration]:
    """Scores source and oracle on unseen drives, and selects the source's predictions on other drives.

    output: a folder; what it has is not measured again. jobs: processes. Raises OutputError where the folder has
    results of other settings, which ``force`` replaces.
    """
    engine = choose_engine(jobs)
    train_oracles(config, shifts, engine, stages)
    settings = {"domains": domains_hash(), **model_settings(config), "protocol": asdict(protocol)}
    with stages(f"source, oracle and selection on {len(shifts) * len(seeds)} drives") as progress:
        parts = measure_all(
            _measure, (config, protocol), shifts, seeds, output, engine, settings, progress, force=force
        )
    rows = [_calibration(shift, [part for part in parts if part["shift"] == shift]) for shift in shifts]
    facts = {"settings": settings, "table": [asdict(row) for row in rows], "parts": parts}
    write_text(output / "results.json", json.dumps(json_values(facts), indent=1) + "\n")
    write_text(output / "table.md", _markdown(rows, seeds))
    return rows


def table(rows: Sequence[Calibration]) -> list[list[str]]:
    """Rows for ``HEADER``: measured and published."""
    published = [
        [name, *(f"{value:.3f}" for value in (fused, fused_oracle, fused_oracle - fused)), f"{image:.3f}",
         f"{image_oracle:.3f}", f"{image_oracle - image:.3f}", "", ""]
        for name, (fused, fused_oracle, image, image_oracle) in PUBLISHED.items()
    ]  # fmt: skip
    return [*(row.cells() for row in rows), *published]


def _markdown(rows: Sequence[Calibration], seeds: Sequence[int]) -> str:
    return (
        f"Domains {domains_hash()[:12]}. Seeds {', '.join(map(str, seeds))}; in brackets 95 % intervals over drives. "
        "Selection: the median of each class's probabilities, at most 0.9, of the source's fused predictions, over the "
        "points that a camera sees. Below: published shifts between real data sets.\n\n"
        f"{markdown_table(HEADER, table(rows))}"
    )


def _measure(task: Task, output: Path, progress: Progress) -> None:
    given, protocol = task.what
    source, config = load_segmenter(one_thread(given))
    parts = [part_of(progress, place, 4) for place in range(4)]
    unseen = UnseenDrives(task.shift, task.seed, config, protocol, source.taxonomy)
    oracle = reference_models.load_oracle(oracle_recipe(task.shift, config), config)
    unseen.score(SOURCE, lambda: source, parts[0], source.version)
    unseen.score(ORACLE, lambda: oracle, parts[1], oracle.version)
    bag = protocol.learned_from(task.shift, task.seed, parts[2])
    found = _selection(source, config, bag, protocol.frames, parts[3])
    values: dict[str, Any] = {"coverage": found.coverage, "precision": found.precision}
    values |= {"shift": task.shift, "seed": task.seed, "scores": list(map(asdict, unseen.scores))}
    write_text(output, json.dumps(json_values(values), indent=1) + "\n")


def _selection(source: Segmenter, config: Config, bag: Path, frames: int, progress: Progress) -> LabelStatistics:
    """The published filter on the source's own predictions; no recipe has an influence."""
    settings = PseudoLabelConfig(ensemble_source=False, voting_cell=0.0)
    generator = PseudoLabelGenerator(settings, build(config.masks), source.fusion, len(source.taxonomy))
    predictions, truths = [], []
    for frame in track(drive_frames(bag, config), progress, frames):
        prepared = PreparedFrame.of(frame, source.network.architecture, settings.visibility)
        predictions.append(generator.predict([source.network], prepared))
        truths.append((frame.ground_truth, prepared.sample.rows[prepared.sample.camera >= 0]))
    found = LabelStatistics(len(source.taxonomy))
    for selection, (truth, seen) in zip(generator.select(predictions)[0], truths, strict=True):
        found.add(selection.labels[seen], None if truth is None else truth[seen])
    return found


def _calibration(shift: str, parts: Sequence[dict[str, Any]]) -> Calibration:
    scores = [Score(**each) for part in parts for each in part["scores"]]
    drives = list(dict.fromkeys((score.seed, score.unseen) for score in scores))
    by_drive = {(score.model, score.seed, score.unseen): score.miou for score in scores}
    values = {
        (model, key): np.array([by_drive[model, seed, unseen][key] for seed, unseen in drives], np.float64)
        for model in (SOURCE, ORACLE)
        for key in KEYS
    }
    unseen = Bootstrap(len(drives), [seed for seed, _ in drives])
    learned_from = Bootstrap(len(parts))
    return Calibration(
        shift,
        {key: unseen.mean(values[SOURCE, key]) for key in KEYS},
        {key: unseen.mean(values[ORACLE, key]) for key in KEYS},
        {key: unseen.difference(values[ORACLE, key], values[SOURCE, key]) for key in KEYS},
        learned_from.mean([part["coverage"] for part in parts]),
        learned_from.mean([part["precision"] for part in parts]),
    )


def _percent(share: Estimate) -> str:
    return Estimate(*(100 * each for each in share)).text(1)
