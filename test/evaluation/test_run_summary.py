"""A run without a result says why."""

import numpy as np

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.evaluation.pseudo_label_summary import PseudoLabelSummary
from sam_adapt_ros.evaluation.run_summary import RunSummary
from sam_adapt_ros.taxonomy import Taxonomy

TOWN = Taxonomy.load("town")
LABELS, NONE = np.zeros(4, np.uint8), np.full(4, 255, np.uint8)


def test_a_run_that_labels_nothing_has_failed() -> None:
    summary = RunSummary(TOWN)
    assert summary.failure == "none of 0 frames was labelled (none was dropped)"
    summary.frames_in = 5
    summary.dropped.update({"cloud_fields": 3, "late": 2})
    assert summary.failure == "none of 5 frames was labelled (cloud_fields 3, late 2)"
    summary.add({Branch.FUSED: LABELS}, None)
    assert summary.failure == ""


def test_a_run_whose_frames_have_no_label_has_failed() -> None:
    summary = RunSummary(TOWN)
    summary.add({Branch.FUSED: NONE}, None)
    assert summary.failure == "no point of 1 frames got a label"
    summary.add({Branch.FUSED: LABELS}, None)
    assert summary.failure == ""


def test_pseudo_labels_of_no_point_are_no_result() -> None:
    summary = PseudoLabelSummary(TOWN)
    assert "none of 0 frames" in summary.failure
    seen = np.array([True, True, False, False])
    summary.add_pseudo_labels(LABELS, None, seen, {"selection": LABELS, "labels": NONE}, [])
    assert summary.failure == "no point of 1 frames got a pseudo-label; cameras see 2"
    summary.add_pseudo_labels(LABELS, None, seen, {"selection": LABELS, "labels": LABELS}, [])
    assert summary.failure == ""
