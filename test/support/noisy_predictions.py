"""An ensemble whose predictions are the truth with noise: unsure where it errs, and it errs in patches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.pipelines import bag_pseudo_labels
from sam_adapt_ros.pseudo_labels import FramePrediction, PreparedFrame, PseudoLabelGenerator, PseudoLabels
from sam_adapt_ros.pseudo_labels.selection import Candidates


def predict(generator: PseudoLabelGenerator, networks: Sequence[object], frame: PreparedFrame) -> FramePrediction:
    """Stands in for ``PseudoLabelGenerator.predict``; without ground truth, the truth is class 0 everywhere."""
    sample = frame.sample
    points = sample.points
    truth = np.zeros(len(points), np.uint8) if sample.labels is None else sample.labels
    assert (truth != IGNORE).all()
    sure = np.random.default_rng(len(points)).random(len(points)).astype(np.float32)
    wrong = (sure < 0.35) | (np.sin(points[:, 0]) * np.sin(points[:, 1]) > 0.8)
    labels = np.where(wrong, (truth + 1) % generator.classes, truth).astype(np.uint8)
    return FramePrediction(
        Candidates(labels, (0.2 + 0.8 * sure).astype(np.float32)), None, sample.camera >= 0, sample.rows, frame.count
    )


def _no_statistics(network: object, samples: Iterable[object], config: object) -> dict[str, object]:
    assert len(list(samples))
    return {}


def install(patch: pytest.MonkeyPatch) -> None:
    """Has every bag be pseudo-labelled by these predictions; the segmenter's network is not run."""
    patch.setattr(PseudoLabelGenerator, "predict", predict)
    patch.setattr(bag_pseudo_labels, "reestimate_batchnorm", _no_statistics)
    patch.setattr(bag_pseudo_labels, "label_ensemble", lambda *_: [])


def pseudo_labelled(
    generator: PseudoLabelGenerator, architecture: object, frames: Sequence[Frame]
) -> list[tuple[PseudoLabels, FramePrediction]]:
    """What ``BagPseudoLabels`` makes of the frames, step by step."""
    prepared = [PreparedFrame.of(frame, architecture, generator.config.visibility) for frame in frames]
    predictions = [predict(generator, [], each) for each in prepared]
    selections, _ = generator.select(predictions)
    return [
        (generator.densify(frame.views, each.seen, selection.labels, compare_direct=True), prediction)
        for frame, each, selection, prediction in zip(frames, prepared, selections, predictions, strict=True)
    ]
