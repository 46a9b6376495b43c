import numpy as np
import pytest
from learning_support import SHAPES

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.evaluation.timeline import Timeline
from sam_adapt_ros.frame import IGNORE, Frame


def test_timeline_counts_what_both_branches_see() -> None:
    timeline = Timeline(SHAPES)
    truth = np.array([0, 1, 2, 1], np.uint8)
    frame = Frame(0, "lidar", np.zeros((4, 3), np.float32), (), truth)
    right = {"2d": np.array([0, 1, IGNORE, 1]), "3d": truth, "fused": truth}
    wrong = {"2d": np.array([0, 1, IGNORE, 1]), "3d": np.array([1, 1, 2, 1]), "fused": np.array([1, 1, 2, 1])}
    timeline.add(frame, *({name: ids.astype(np.uint8) for name, ids in labels.items()} for labels in (right, wrong)))
    timeline.decide("", "no")
    timeline.decide("student", "yes")
    facts = timeline.as_dict()
    assert (facts["promotions"], facts["rejections"]) == (1, 1)
    assert facts["miou_online"] == 1.0
    assert facts["miou_source"] == pytest.approx((0 + 2 / 3) / 2)
    assert facts["consistency_source"] == pytest.approx(2 / 3)
    assert facts["all_points"]["miou_source"] == pytest.approx((0 + 2 / 3 + 1) / 3)
    assert timeline.online.windowed_miou(Branch.FUSED) == timeline.source.windowed_miou(Branch.IMAGE) == [1.0]
