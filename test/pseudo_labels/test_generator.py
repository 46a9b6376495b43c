from types import SimpleNamespace

import numpy as np
import pytest

from sam_adapt_ros.benchmarks.street import occlusion
from sam_adapt_ros.config import EnhancementConfig, PseudoLabelConfig, SelectionConfig, VisibilityConfig
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry import project
from sam_adapt_ros.masks import MaskSet
from sam_adapt_ros.pseudo_labels import PseudoLabeler, enhance

IGNORE = 255


class Columns:
    """A generator: the image cut into upright strips, and what it was asked."""

    name = "columns"

    def __init__(self, width):
        self.width = width
        self.asked = []

    def __call__(self, view, seen, labels=None):
        self.asked.append((view.name, seen, labels.copy()))
        strip = (seen.uv[:, 0] // self.width).astype(int)
        strips = np.arange(view.camera.width // self.width + 1)
        return MaskSet(strip == strips[:, None], np.full(len(strips), 100.0))


@pytest.fixture(scope="module")
def scene():
    """A frame with unseen and non-finite points; a prediction that is right, and sure here and there."""
    points, view, _ = occlusion(3000, seed=3, beams=32)
    rng = np.random.default_rng(0)
    points = np.concatenate([points, [[-5, 0, 0], [np.nan, 0, 0]]]).astype(np.float32)
    frame = Frame(0, "lidar", points, (view,))
    truth = (points[:, 2] > -1.7).astype(np.intp)
    sure = rng.uniform(0.55, 1, len(points)).astype(np.float32)
    fused = np.where(np.arange(2) == truth[:, None], sure[:, None], 1 - sure[:, None]).astype(np.float32)
    fused[-1] = 0
    seen = project(points, view).valid
    prediction = SimpleNamespace(fused=fused, image=np.where(seen[:, None], fused, 0), points=fused, seen=seen)
    return frame, prediction, truth


def test_stages_are_those_of_enhance(scene):
    frame, prediction, _ = scene
    enhancement = EnhancementConfig(min_points=3, min_purity=0.8)
    config = PseudoLabelConfig(selection=SelectionConfig(cap=0.95), enhancement=enhancement)
    generator = Columns(60)
    result = PseudoLabeler(config, generator)(frame, prediction, compare=True)
    name, seen, hint = generator.asked[0]
    assert name == "CAM_FRONT"
    np.testing.assert_array_equal(hint, result.selected[seen.index])
    masks = result.cameras[0].masks
    for propagation, labels in (("gapp", result.labels), ("direct", result.direct)):
        expected = result.selected.copy()
        enhanced = enhance(
            frame.points[seen.index],
            expected[seen.index],
            masks.membership,
            masks.areas,
            enhancement.model_copy(update={"propagation": propagation}),
        )
        expected[seen.index] = enhanced.labels
        np.testing.assert_array_equal(labels, expected)
        if propagation == "gapp":
            assert result.cameras[0].records == enhanced.masks
    assert list(result.stages()) == ["selected", "direct", "labels"]
    density = [(labels != IGNORE).mean() for labels in result.stages().values()]
    assert density[0] < density[2] <= density[1]


def test_selected_are_the_surer_predictions(scene):
    frame, prediction, truth = scene
    result = PseudoLabeler(PseudoLabelConfig(), Columns(60))(frame, prediction)
    kept = result.selected != IGNORE
    np.testing.assert_array_equal(result.selected[kept], truth[kept])
    assert 0.4 < kept.mean() < 0.6
    assert result.labels[-1] == IGNORE and result.direct is None
    np.testing.assert_array_equal(result.labels[-2], result.selected[-2])  # unseen: only selection


def test_hidden_points_neither_vote_nor_are_labelled(scene):
    frame, prediction, _ = scene
    config = PseudoLabelConfig(visibility=VisibilityConfig(enabled=True, cell=0.006, window=10))
    plain, careful = Columns(60), Columns(60)
    PseudoLabeler(PseudoLabelConfig(), plain)(frame, prediction)
    result = PseudoLabeler(config, careful)(frame, prediction)
    hidden = np.setdiff1d(plain.asked[0][1].index, careful.asked[0][1].index)
    assert len(hidden) > 10
    np.testing.assert_array_equal(result.labels[hidden], result.selected[hidden])


def test_cameras_follow_one_another(scene):
    frame, prediction, _ = scene
    view = frame.views[0]
    generator = Columns(60)
    twice = Frame(0, "lidar", frame.points, (view, view))
    result = PseudoLabeler(PseudoLabelConfig(), generator)(twice, prediction)
    once = PseudoLabeler(PseudoLabelConfig(), Columns(60))(frame, prediction)
    assert len(result.cameras) == 2
    np.testing.assert_array_equal(generator.asked[1][2], once.labels[generator.asked[1][1].index])


def test_no_camera(scene):
    frame, prediction, _ = scene
    result = PseudoLabeler(PseudoLabelConfig(), Columns(60))(Frame(0, "lidar", frame.points), prediction)
    np.testing.assert_array_equal(result.labels, result.selected)


def test_learning_can_be_left_out(scene):
    frame, prediction, _ = scene
    labeler = PseudoLabeler(PseudoLabelConfig(), Columns(60), classes=2)
    labeler(frame, prediction, learn=False)
    assert labeler.selector.running.state()["counts"].sum() == 0
