"""What the promotion gate measures of its candidates, and what they are truly worth: ``bench-gate``.

One round learns from the frames that the buffer keeps of a drive. The gate sees the candidates' predictions on held-out
frames without labels; here each candidate is also scored on unseen drives with true labels. So it shows which
measurement tells good candidates from bad ones, and what would have been promoted by it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr

from sam_adapt_ros.adaptation.labelled_source import LabelledSource
from sam_adapt_ros.adaptation.promotion.gate import Decision
from sam_adapt_ros.adaptation.round import Round
from sam_adapt_ros.adaptation.round_context import RoundContext
from sam_adapt_ros.adaptation.round_state import RoundFiles, RoundState
from sam_adapt_ros.benchmarks.adaptation import SOURCE
from sam_adapt_ros.benchmarks.students import fill_buffer
from sam_adapt_ros.benchmarks.unseen_drives import (
    SHIFTS,
    VALIDATION_SEEDS,
    Protocol,
    Task,
    UnseenDrives,
    measure_all,
    model_settings,
    one_thread,
)
from sam_adapt_ros.branch import Branch
from sam_adapt_ros.cancellation import NEVER
from sam_adapt_ros.config import Config
from sam_adapt_ros.evaluation.intervals import Bootstrap
from sam_adapt_ros.evaluation.segmentation_metrics import FUSED_SEEN
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.io.outputs import write_text
from sam_adapt_ros.masks import build
from sam_adapt_ros.parallel import choose_engine
from sam_adapt_ros.progress import Progress, Stages, no_stages, part_of
from sam_adapt_ros.pseudo_labels import PseudoLabelGenerator
from sam_adapt_ros.segmentation import Segmenter, load_segmenter
from sam_adapt_ros.segmentation.fusion import FUSIONS
from sam_adapt_ros.segmentation.segmentation_network import State, with_state
from sam_adapt_ros.simulation import domains_hash
from sam_adapt_ros.visualization.markdown import markdown_table

PROTOCOL = Protocol(unseen_frames=16, unseen_period=1.25)
"""Fewer frames of the same unseen drives: a round has a dozen candidates."""
MEASUREMENTS = {
    "fused_agreement": "fused with pseudo-labels",
    "image_agreement": "2D with pseudo-labels",
    "score": "mean of both, the score",
    "pseudo_label_agreement": "fused with pseudo-labels, all points",
    "branch_agreement": "2D with 3D",
    "augmentation_agreement": "plain with augmented",
    "entropy": "entropy",
}
"""Of the gate's, by name in ``CandidateMetrics``: agreements are mean IoUs on the held-out frames."""
CORRELATIONS = ("measured on held-out frames, without labels", "rank correlation with the gain on unseen drives")
GAINS = ("gain", "gain_all")
KINDS = ("candidate", "rounds", "gain on unseen drives", "worst", "of all points")
PROMOTIONS = ("promoted by", *KINDS[1:4], "below the source by over 0.005", KINDS[4])


class Candidate(NamedTuple):
    """One candidate of one round.

    promoted: by the gate. refused: by criteria other than ``consistency``. sure_gain: see ``Verdict``. numbers: the
    gate's measurements. above_source: the same less the source's. gain: the true one over the source, of fused mean IoU
    where a camera sees. gain_all: the same over all points.
    """

    shift: str
    seed: int
    name: str
    promoted: bool
    refused: bool
    sure_gain: float
    numbers: Mapping[str, float]
    above_source: Mapping[str, float]
    gain: float
    gain_all: float


Rule = Callable[[Candidate, Config], float]
"""By how much a candidate passes, the one with most of it being promoted; below 0: it does not."""


def _by(measurement: str) -> Rule:
    return lambda candidate, config: (
        candidate.above_source.get(measurement, math.nan) - config.adaptation.gate.min_pseudo_label_gain
    )


def _surely(candidate: Candidate, config: Config) -> float:
    return candidate.sure_gain if _by("score")(candidate, config) >= 0 else -1.0


def _truly(candidate: Candidate, config: Config) -> float:
    return candidate.gain


TRUTH = "the truth: the best candidate"
RULES: dict[str, Rule] = {
    "agreement of the fused labels": _by("fused_agreement"),
    "mean of fused and 2D agreement": _by("score"),
    "the same, lower confidence bound": _surely,
    "the gate, by all its criteria": lambda candidate, _: 0.0 if candidate.promoted else -1.0,
}


@dataclass(frozen=True)
class GateTable:
    """The candidates of all rounds, and what follows from them."""

    candidates: Sequence[Candidate]
    config: Config

    def correlations(self) -> list[list[str]]:
        """Of every measurement, the mean of Spearman's coefficient over rounds."""
        return [[words, _text(self._correlation(name))] for name, words in MEASUREMENTS.items()]

    def kinds(self) -> list[list[str]]:
        """What candidates of each name are worth, whether they would be promoted or not; the best first."""
        of_name: dict[str, list[Candidate]] = {}
        for candidate in self.candidates:
            of_name.setdefault(candidate.name, []).append(candidate)
        rows = []
        for name, found in of_name.items():
            gains = [each.gain for each in found]
            row = [name, str(len(gains)), _gain(gains), f"{min(gains):+.3f}", _gain([each.gain_all for each in found])]
            rows.append((float(np.mean(gains)), row))
        return [row for _, row in sorted(rows, key=lambda each: -each[0])]

    def promotions(self) -> list[list[str]]:
        """What every rule would have promoted; a round in which nothing passes keeps the source."""
        rows = []
        for name, rule in (*RULES.items(), (TRUTH, _truly)):
            promoted = [self._promoted(candidates, rule) for candidates in self._rounds()]
            gains, gains_all = ([0.0 if each is None else getattr(each, key) for each in promoted] for key in GAINS)
            below = sum(gain < -0.005 for gain in gains)
            rows.append([name, str(len(gains)), _gain(gains), f"{min(gains):+.3f}", str(below), _gain(gains_all)])
        return rows

    def markdown(self) -> str:
        seeds = sorted({candidate.seed for candidate in self.candidates})
        return (
            f"Domains {domains_hash()[:12]}. One round a drive, seeds {', '.join(map(str, seeds))}, "
            f"{len(self.candidates)} candidates; 95 % intervals over rounds.\n\n"
            f"{markdown_table(CORRELATIONS, self.correlations())}\n{markdown_table(PROMOTIONS, self.promotions())}\n"
            f"{markdown_table(KINDS, self.kinds())}"
        )

    def _rounds(self) -> list[list[Candidate]]:
        rounds: dict[tuple[str, int], list[Candidate]] = {}
        for candidate in self.candidates:
            rounds.setdefault((candidate.shift, candidate.seed), []).append(candidate)
        return list(rounds.values())

    def _promoted(self, candidates: Sequence[Candidate], rule: Rule) -> Candidate | None:
        """The candidate that the rule promotes, of equals the first as the gate does; None: the source stays."""
        allowed = [each for each in candidates if rule is _truly or not each.refused]
        passing = [(rule(each, self.config), each) for each in allowed]
        return max((each for each in passing if each[0] >= 0), key=lambda each: each[0], default=(0.0, None))[1]

    def _correlation(self, measurement: str) -> float:
        found = []
        for candidates in self._rounds():
            values = [each.numbers.get(measurement, math.nan) for each in candidates]
            if len(set(values)) > 1 and not np.isnan(values).any():
                found.append(spearmanr(values, [each.gain for each in candidates]).statistic)
        return float(np.mean(found)) if found else math.nan


def bench_gate(
    config: Config,
    output: Path,
    shifts: Sequence[str] = SHIFTS,
    seeds: Sequence[int] = VALIDATION_SEEDS[:2],
    protocol: Protocol = PROTOCOL,
    jobs: int = 1,
    stages: Stages = no_stages,
    *,
    force: bool = False,
) -> GateTable:
    """One round a shift and seed, with all candidates scored on unseen drives.

    output: a folder; what it has is not measured again. jobs: processes. Raises OutputError where the folder has
    results of other settings, which ``force`` replaces.
    """
    recipe = config.model_dump(mode="json", include={"masks", "pseudo_labels", "adaptation"})
    settings = {"domains": domains_hash(), **model_settings(config), "protocol": asdict(protocol), "recipe": recipe}
    with stages(f"one round on each of {len(shifts) * len(seeds)} drives") as progress:
        parts = measure_all(
            _measure, (config, protocol), shifts, seeds, output, choose_engine(jobs), settings, progress, force=force
        )
    table = GateTable([candidate for part in parts for candidate in _candidates(part)], config)
    facts = {"settings": settings, "parts": parts}
    write_text(output / "results.json", json.dumps(json_values(facts), indent=1) + "\n")
    write_text(output / "table.md", table.markdown())
    return table


def _measure(task: Task, output: Path, progress: Progress) -> None:
    """Leaves the gate's decision, and every candidate's mean IoU on the unseen drives."""
    given, protocol = task.what
    source, config = load_segmenter(one_thread(given))
    decision, states = _round(source, config, protocol, task, part_of(progress, 0, 2))
    unseen = UnseenDrives(task.shift, task.seed, config, protocol, source.taxonomy)
    unseen.score(SOURCE, lambda: source, known_as=source.version)
    for place, (name, state) in enumerate(states.items()):
        make = partial(Segmenter, with_state(source.network, state), source.taxonomy, config.segmenter, name)
        unseen.score(name, make)
        progress(50 + 50 * (place + 1) // len(states), 100)
    miou: dict[str, dict[str, list[float]]] = {gain: {} for gain in GAINS}
    for score in unseen.scores:
        for gain, key in zip(GAINS, (FUSED_SEEN, Branch.FUSED), strict=True):
            miou[gain].setdefault(score.model, []).append(score.miou[key])
    found = {"shift": task.shift, "seed": task.seed, "decision": decision.as_dict(), "miou": miou}
    write_text(output, json.dumps(json_values(found), indent=1) + "\n")


def _round(
    source: Segmenter, config: Config, protocol: Protocol, task: Task, progress: Progress
) -> tuple[Decision, dict[str, State]]:
    """A round on all frames that the buffer keeps of the drive, with the source's weights in use."""
    bag = protocol.learned_from(task.shift, task.seed)
    buffer = fill_buffer(source, config, bag, protocol.frames, progress)
    training, held_out = buffer.training(), buffer.held_out()
    fusion = FUSIONS[config.segmenter.fusion]
    generator = PseudoLabelGenerator(config.pseudo_labels, build(config.masks), fusion, len(source.taxonomy))
    labelled = LabelledSource(config, source.taxonomy, source.network.architecture)
    state = RoundState(1, "", "", "trigger", training.keys, held_out.keys, {}, {})
    context = RoundContext(state, RoundFiles(None), NEVER, training, held_out, in_use=None, same_scene=True)
    outcome = Round(config.adaptation, source.network, generator, source.taxonomy.classes, labelled).run(context)
    return outcome.decision, context.candidates


def _candidates(part: Mapping[str, Any]) -> list[Candidate]:
    """Those of a part's round that were measured."""
    (source,) = (each["numbers"] for each in part["decision"]["baselines"] if each["name"] == "source")
    miou = [part["miou"][name] for name in GAINS]
    found = []
    for verdict in part["decision"]["candidates"]:
        numbers = verdict["numbers"]
        if numbers:
            above = {name: numbers[name] - source[name] for name in MEASUREMENTS if name in numbers and name in source}
            refused = any(not text.startswith("consistency") for text in verdict["refusals"])
            gains = (float(np.mean(of[verdict["name"]]) - np.mean(of[SOURCE])) for of in miou)
            promoted = verdict["name"] == part["decision"]["promoted"]
            measured = promoted, refused, verdict["sure_gain"], numbers, above, *gains
            found.append(Candidate(part["shift"], part["seed"], verdict["name"], *measured))
    return found


def _gain(values: Sequence[float]) -> str:
    """The mean over rounds and its interval."""
    return Bootstrap(len(values)).mean(values).text(difference=True)


def _text(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f}"
