"""The models that the ablation of inputs compares start alike."""

from __future__ import annotations

import numpy as np
import torch
from small_network import make_frame

from sam_adapt_ros.benchmarks import inputs
from sam_adapt_ros.config import find_weights
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.batch import Sample, collate


def test_further_inputs_change_nothing_before_training() -> None:
    bundled = weights_files.load(find_weights("town_small"))
    frame = make_frame(points=400, cameras=0)
    found = []
    for further in inputs.INPUTS.values():
        architecture = bundled.architecture.model_copy(update={"point_inputs": further})
        branch = inputs._extended(bundled.state, len(bundled.classes), architecture).eval()
        with torch.inference_mode():
            found.append(inputs._point_logits(branch)(collate([Sample.from_frame(frame, architecture)], architecture)))
    assert len(found) == 3
    for logits in found[1:]:
        np.testing.assert_allclose(logits, found[0], atol=1e-4)


def test_every_place_is_measured_once_by_a_model_that_has_not_seen_it() -> None:
    assert sorted(place for fold in inputs.FOLDS for place in fold) == list(inputs.PLACES)
