"""The models that adapted weights are compared with: re-estimated BatchNorm statistics alone, and the oracle.

Neither depends on the recipe of adaptation, so all recipes are compared with the same ones.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam_adapt_ros.adaptation.batchnorm import reestimate_batchnorm
from sam_adapt_ros.adaptation.promotion.candidate_evaluation import with_state
from sam_adapt_ros.adaptation.self_training import SelfTraining
from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.config import BatchNormConfig, Config, SegmenterConfig, SelfTrainingConfig, find_weights
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.io.lock import locked
from sam_adapt_ros.pipelines.simulated_drives import PATIENCE_S, PERIOD, cache_folder, town_drives
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.segmentation import Segmenter, load_segmenter
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.logits import compute_logits
from sam_adapt_ros.segmentation.temperature_scaling import fit_scales, scale_classifiers
from sam_adapt_ros.segmentation.weights import Weights

NORMALIZATION = BatchNormConfig(target_weight_2d=1.0, target_weight_3d=0.25)
"""The weights of the new domain's statistics: of those tried, the best that needs no training."""
ORACLE_TRAINING = SelfTrainingConfig(
    steps=200, epochs=1e6, learning_rate=1e-3, ema_decay=0.9, class_weight_exponent=0.25
)
HELD_OUT_EVERY = 6
"""One in so many samples fits the oracle's temperatures and is not trained on."""


def to_samples(frames: Iterable[Frame], source: Segmenter) -> list[Sample]:
    """Frames at the network's input size: smaller, so that many fit into memory."""
    return [Sample.from_frame(frame, source.network.architecture) for frame in frames]


def batchnorm_only(source: Segmenter, samples: Iterable[Sample], config: SegmenterConfig) -> Segmenter:
    """The source model with BatchNorm statistics re-estimated on unlabelled samples: what adaptation has to beat."""
    network = with_state(source.network, reestimate_batchnorm(source.network, samples, NORMALIZATION))
    return Segmenter(network, source.taxonomy, config, "batchnorm only")


def frames_trained_on(config: Config) -> int:
    """Labelled frames that the source model was trained on, as its weights file says; 0 where it does not.

    Raises ConfigError, WeightsError.
    """
    history = weights_files.load(find_weights(config.segmenter.weights)).history
    return sum(int(step.get("frames", 0)) for step in history if step.get("step") == "train")


def train_oracle(
    source: Segmenter,
    samples: Sequence[Sample],
    config: SegmenterConfig,
    training: SelfTrainingConfig = ORACLE_TRAINING,
    progress: Progress = no_progress,
) -> Segmenter:
    """The source model trained on with the true labels of the domain: the upper bound of adaptation.

    Temperatures are fitted on held-out samples, as the source's and a candidate's are: on training samples, both
    branches would seem more certain than they are. progress: in training steps.
    """
    start = batchnorm_only(source, samples[::3], config).network
    trained = [sample for place, sample in enumerate(samples) if place % HELD_OUT_EVERY]
    held_out = [sample for sample in samples[::HELD_OUT_EVERY] if sample.labels is not None]
    run = SelfTraining(start, trained, training)
    while not run.finished:
        run.step()
        progress(run.done, run.steps)
    network = run.average
    scales = fit_scales(
        compute_logits(network, held_out), [sample.labels for sample in held_out if sample.labels is not None]
    )
    network = with_state(network, scale_classifiers(network.state_dict(), scales, network.classifiers))
    return Segmenter(network, source.taxonomy, config, "oracle")


@dataclass(frozen=True)
class OracleRecipe:
    """The simulated drives that an oracle is trained on, and for how many steps. period: seconds between frames."""

    domain: str
    seeds: tuple[int, ...]
    frames: int
    steps: int
    period: float = PERIOD


def load_oracle(recipe: OracleRecipe, config: Config, progress: Progress = no_progress) -> Segmenter:
    """The oracle from the cache, or trained into it by one process at a time: minutes on one core.

    progress: in frames rendered and training steps together. Raises WeightsError when the source model does not load.
    """
    source, config = load_segmenter(config)
    training = ORACLE_TRAINING.model_copy(update={"steps": recipe.steps})
    key = f"{recipe} {training} {HELD_OUT_EVERY} {NORMALIZATION} {source.version}"
    path = cache_folder("oracles") / f"{recipe.domain}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock"), PATIENCE_S):
            if not path.is_file():
                _save(_train_on_drives(recipe, source, config, training, progress), path)
    return Segmenter.load(path, config.segmenter, source.taxonomy)


def _train_on_drives(
    recipe: OracleRecipe, source: Segmenter, config: Config, training: SelfTrainingConfig, progress: Progress
) -> Segmenter:
    rendered = len(recipe.seeds) * recipe.frames
    total = rendered + recipe.steps
    rendering = town_drives(
        [recipe.domain], recipe.seeds, recipe.frames, lambda done, _: progress(done, total), recipe.period
    )
    samples: list[Sample] = []
    for bag in rendering[recipe.domain]:
        with BagReader(bag, config) as reader:
            samples += to_samples(reader.frames(), source)
    return train_oracle(source, samples, config.segmenter, training, lambda done, _: progress(rendered + done, total))


def _save(segmenter: Segmenter, path: Path) -> None:
    network, taxonomy = segmenter.network, segmenter.taxonomy
    weights_files.save(path, Weights(network.state_dict(), taxonomy.name, taxonomy.classes, network.architecture))


@contextmanager
def oracle_in_background(recipe: OracleRecipe, config: Config) -> Iterator[Callable[[Progress], Segmenter]]:
    """Trains the oracle in a process of its own on one core, into the cache.

    Yields a function that waits for it and loads it; what it is given reports the training's progress. Should the
    process fail, the oracle is trained when it is waited for, and what went wrong is raised then.
    """
    spawn = multiprocessing.get_context("spawn")
    counts = spawn.Array("q", 2)
    process = spawn.Process(target=_train_into_cache, args=(recipe, config, counts), daemon=True)

    def wait_for_oracle(progress: Progress) -> Segmenter:
        while process.is_alive():
            process.join(0.5)
            progress(*counts[:])
        return load_oracle(recipe, config, progress)

    process.start()
    try:
        yield wait_for_oracle
    finally:
        process.terminate()
        process.join()


def _train_into_cache(recipe: OracleRecipe, config: Config, counts: Any) -> None:
    """counts: done and total, shared with the process that waits."""
    import torch

    torch.set_num_threads(1)

    def report(done: int, total: int) -> None:
        counts[:] = done, total

    load_oracle(recipe, config, report)
