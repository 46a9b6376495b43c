"""How much of a domain shift's loss adaptation recovers, on unseen drives of the domain: ``bench-adaptation``, and what
parts of the recipe are worth: ``bench-recipes``."""

from __future__ import annotations

import itertools
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sam_adapt_ros.benchmarks import Figure
from sam_adapt_ros.benchmarks.score_tables import ScoreTable
from sam_adapt_ros.benchmarks.students import train_student
from sam_adapt_ros.benchmarks.unseen_drives import (
    SHIFTS,
    TEST_SEEDS,
    Protocol,
    Score,
    Task,
    UnseenDrives,
    drive_frames,
    measure_all,
    model_settings,
    one_thread,
)
from sam_adapt_ros.config import Config
from sam_adapt_ros.evaluation.segmentation_metrics import FUSED_SEEN
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.io.outputs import write_text
from sam_adapt_ros.parallel import Engine, Shard, choose_engine, map_shards
from sam_adapt_ros.pipelines import reference_models
from sam_adapt_ros.pipelines.adaptive_replay import OnlineRun
from sam_adapt_ros.pipelines.reference_models import OracleRecipe
from sam_adapt_ros.pipelines.simulated_drives import town_bag
from sam_adapt_ros.progress import Progress, Stages, no_stages, part_of, track
from sam_adapt_ros.segmentation import Segmenter, load_segmenter
from sam_adapt_ros.simulation import domains_hash

logger = logging.getLogger(__name__)

SOURCE, NORMALIZATION, ORACLE, ADAPTED = "source", "normalization only", "oracle", "adapted"
TRUE_LABELS = "true labels"
SOURCE_SEEDS = (1, 2)
"""Of the labelled drives by day that mode ``with_source`` learns from; the source model was trained on them."""
ORACLE_SEED, ORACLE_FRAMES, ORACLE_PERIOD = 20_000, 25, 1.0
"""The oracle's drives: the seed of the first, and the frames of each and the seconds between them."""
UNKNOWN_FRAMES = 400
"""As many as the oracle is given where weights do not say how many they were trained on."""
ORACLE_STEPS = 800
"""With 400 frames of ``night+other_lidar`` it has 0.817 after 200 steps and 0.837 after 800, the source 0.649."""


@dataclass(frozen=True)
class Measurement:
    """What is measured. recipes: configurations by the name of the model that they make.

    gate: whether the whole product learns, along the drive and with its promotion gate; else a student is trained on
    the frames that the buffer keeps of the drive. oracle: whether the oracle is scored, too. true_labels: whether a
    student of the true labels of the same frames is, by the first recipe: the most that this drive can teach in it.
    """

    config: Config
    recipes: Mapping[str, Config]
    shifts: Sequence[str] = SHIFTS
    seeds: Sequence[int] = TEST_SEEDS[:3]
    gate: bool = True
    oracle: bool = True
    true_labels: bool = False
    protocol: Protocol = field(default_factory=Protocol)

    def settings(self) -> dict[str, Any]:
        """What a shift's and seed's results depend on."""
        return {
            "domains": domains_hash(),
            **model_settings(self.config),
            "gate": self.gate,
            "oracle": ORACLE_STEPS if self.oracle else 0,
            "true_labels": self.true_labels,
            "protocol": asdict(self.protocol),
            "recipes": {
                name: recipe.model_dump(mode="json", include={"masks", "pseudo_labels", "adaptation"})
                for name, recipe in self.recipes.items()
            },
        }


def measure(
    measurement: Measurement, output: Path, jobs: int = 1, stages: Stages = no_stages, *, force: bool = False
) -> ScoreTable:
    """Adapts on one drive per shift and seed, and scores the models on unseen drives.

    output: a folder; what it has is not measured again. jobs: processes. Raises OutputError where the folder has
    results of other settings, which ``force`` replaces.
    """
    engine = choose_engine(jobs)
    if measurement.oracle:
        train_oracles(measurement.config, measurement.shifts, engine, stages)
    drives, models = len(measurement.shifts) * len(measurement.seeds), len(measurement.recipes) + 2
    models += measurement.oracle + measurement.true_labels
    with stages(f"{drives} drives, {models} models each") as progress:
        parts = measure_all(
            _measure, measurement, measurement.shifts, measurement.seeds, output, engine, measurement.settings(),
            progress, force=force,
        )  # fmt: skip
    scores = [Score(**each) for part in parts for each in part["scores"]]
    reference = next(iter(measurement.recipes))
    table = ScoreTable(scores, SOURCE, NORMALIZATION, reference, ORACLE if measurement.oracle else "")
    facts = {"settings": measurement.settings(), "table": table.as_dict(), "parts": parts}
    write_text(output / "results.json", json.dumps(json_values(facts), indent=1) + "\n")
    write_text(output / "table.md", table.markdown(f"Domains {domains_hash()[:12]}."))
    return table


def train_oracles(config: Config, shifts: Sequence[str], engine: Engine, stages: Stages = no_stages) -> None:
    """Trains the oracle of every shift into the cache, where it is not yet."""
    work = [(oracle_recipe(shift, config), config) for shift in shifts]
    shards = [Shard(shift, each, each[0].steps) for shift, each in zip(shifts, work, strict=True)]
    with stages("the oracles, trained with true labels") as progress, tempfile.TemporaryDirectory() as folder:
        map_shards(_train_oracle, shards, Path(folder), engine, progress)


def oracle_recipe(shift: str, config: Config) -> OracleRecipe:
    """As many frames as the source model was trained on."""
    frames = reference_models.frames_trained_on(config) or UNKNOWN_FRAMES
    seeds = tuple(range(ORACLE_SEED, ORACLE_SEED + -(-frames // ORACLE_FRAMES)))
    return OracleRecipe(shift, seeds, ORACLE_FRAMES, ORACLE_STEPS, ORACLE_PERIOD)


def with_source(config: Config, frames: int = 60) -> Config:
    """The configuration in mode ``with_source``, with drives by day as source bags where it has none."""
    values: dict[str, Any] = {"adaptation.mode": "with_source"}
    if not config.adaptation.source.bags:
        values["adaptation.source.bags"] = [str(town_bag("day", seed, frames)) for seed in SOURCE_SEEDS]
    return config.updated(values)


def _train_oracle(work: tuple[OracleRecipe, Config], output: Path, progress: Progress) -> None:
    recipe, config = work
    reference_models.load_oracle(recipe, one_thread(config), progress)
    output.touch()


def _measure(task: Task, output: Path, progress: Progress) -> None:
    """Leaves the scores of every model, and what became of every adaptation."""
    what: Measurement = task.what
    protocol = what.protocol
    count = 3 + 2 * (len(what.recipes) + what.true_labels)
    parts = (part_of(progress, place, count) for place in itertools.count())
    source, config = load_segmenter(one_thread(what.config))
    bag = protocol.learned_from(task.shift, task.seed)
    unseen = UnseenDrives(task.shift, task.seed, config, protocol, source.taxonomy)

    def normalized() -> Segmenter:
        samples = reference_models.to_samples(drive_frames(bag, config), source)
        return reference_models.batchnorm_only(source, samples, config.segmenter)

    unseen.score(SOURCE, lambda: source, next(parts), source.version)
    unseen.score(NORMALIZATION, normalized, next(parts), f"normalized-{source.version}-{bag.name}")
    if what.oracle:
        oracle = reference_models.load_oracle(oracle_recipe(task.shift, config), config)
        unseen.score(ORACLE, lambda: oracle, next(parts), oracle.version)
    facts = {}
    adapt = adapt_online if what.gate else train_student
    learners = {name: (recipe, adapt) for name, recipe in what.recipes.items()}
    if what.true_labels:
        learners[TRUE_LABELS] = next(iter(what.recipes.values())), partial(train_student, true_labels=True)
    for name, (recipe, learn) in learners.items():
        settings = one_thread(recipe).model_copy(update={"taxonomy": config.taxonomy})
        model, facts[name] = learn(source, settings, bag, protocol.frames, next(parts))
        unseen.score(name, partial(_same, model), next(parts), source.version if model is source else "")
    found = {"shift": task.shift, "seed": task.seed, "scores": list(map(asdict, unseen.scores)), "facts": facts}
    write_text(output, json.dumps(json_values(found), indent=1) + "\n")


def _same(model: Segmenter) -> Segmenter:
    return model


def adapt_online(
    source: Segmenter, config: Config, bag: Path, frames: int, progress: Progress
) -> tuple[Segmenter, dict[str, Any]]:
    """The weights in use at the end of a drive, and the decisions on the way; ``source`` itself where none replaced it.

    frames: of the drive.
    """
    with tempfile.TemporaryDirectory(prefix="sam_adapt_") as folder:
        run = OnlineRun(config, Path(folder) / "store")
        run.drive(track(drive_frames(bag, run.config), progress, frames))
        return source if run.segmenter is run.source else run.segmenter, online_facts(run)


def online_facts(run: OnlineRun) -> dict[str, Any]:
    """What became of a run: mean IoU of the published labels, and every decision."""
    return {
        "online": run.timeline.online.evaluation.confusion[FUSED_SEEN].miou_present(),
        "seconds_learning": round(run.seconds_learning, 1),
        "offered": dict(run.offered),
        "decisions": [decision.as_dict() for decision in run.decisions],
    }


def run(quick: bool = False) -> list[Figure]:
    """The figures of docs/results.md; takes minutes per shift and seed (quick: one of each, and shorter drives)."""
    config = Config.load("town")
    protocol = Protocol(frames=40, unseen=1, unseen_frames=12) if quick else Protocol()
    seeds = TEST_SEEDS[:1] if quick else TEST_SEEDS[:3]
    what = Measurement(config, {ADAPTED: config}, SHIFTS[:1] if quick else SHIFTS, seeds, protocol=protocol)
    table = measure(what, Path("out/bench/adaptation"), force=True)
    figures = []
    for shift in what.shifts:
        row = table.row(shift, ADAPTED)
        recovered = row.recovered[FUSED_SEEN]
        figures += [
            Figure(f"{shift}: recovered", recovered.value, "", ">= 0.5", recovered.text()),
            Figure(f"{shift}: worst seed against the source", row.worst_seed, "mIoU", ">= -0.005"),
            Figure(
                f"{shift}: gain over normalization only",
                row.over_normalization.value,
                "mIoU",
                "> 0",
                row.over_normalization.text(difference=True),
            ),
        ]
    return figures
