from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from small_network import TINY
from small_network import make_frame as small_frame

from sam_adapt_ros.benchmarks.street import occlusion
from sam_adapt_ros.config import (
    EnhancementConfig,
    PseudoLabelConfig,
    SegmenterConfig,
    SelectionConfig,
    VisibilityConfig,
)
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry import project, transform_points
from sam_adapt_ros.masks import MaskSet
from sam_adapt_ros.pseudo_labels import FramePrediction, PreparedFrame, PseudoLabelGenerator, enhance
from sam_adapt_ros.pseudo_labels.selection import Candidates, candidates, dataset_thresholds
from sam_adapt_ros.segmentation.fusion import product
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.segmenter import Segmenter
from sam_adapt_ros.taxonomy import Taxonomy

IGNORE = 255


class Columns:
    """A mask generator: the image cut into upright strips; remembers what it was asked for."""

    name = "columns"

    def __init__(self, width):
        self.width = width
        self.asked = []

    def __call__(self, view, seen, labels=None):
        self.asked.append((view.name, seen, labels.copy()))
        strip = (seen.uv[:, 0] // self.width).astype(int)
        strips = np.arange(view.camera.width // self.width + 1)
        return MaskSet(strip == strips[:, None], np.full(len(strips), 100.0))


def generator_of(masks=None, classes=2, **config):
    return PseudoLabelGenerator(PseudoLabelConfig(**config), masks or Columns(60), product, classes)


@pytest.fixture(scope="module")
def scene():
    """A frame with unseen and non-finite points; the trusted predictions, a half of what is right."""
    points, view, _ = occlusion(3000, seed=3, beams=32)
    rng = np.random.default_rng(0)
    points = np.concatenate([points, [[-5, 0, 0], [np.nan, 0, 0]]]).astype(np.float32)
    truth = (points[:, 2] > -1.7).astype(np.uint8)
    selected = np.where(rng.random(len(points)) < 0.5, truth, np.uint8(IGNORE))
    selected[-1] = IGNORE
    return Frame(0, "lidar", points, (view,)), selected


def densified(generator, frame, selected, **options):
    prepared = PreparedFrame.of(frame, TINY, generator.config.visibility)
    return generator.densify(frame.views, prepared.seen, selected, **options)


def test_stages_are_those_of_enhance(scene):
    frame, selected = scene
    enhancement = EnhancementConfig(min_points=3, min_purity=0.8)
    masks = Columns(60)
    result = densified(generator_of(masks, enhancement=enhancement), frame, selected, compare_direct=True)
    name, seen, hint = masks.asked[0]
    assert name == "CAM_FRONT"
    np.testing.assert_array_equal(hint, selected[seen.index])
    made = result.cameras[0].masks
    for propagation, labels in (("gapp", result.labels), ("direct", result.direct)):
        expected = selected.copy()
        enhanced = enhance(
            frame.points[seen.index],
            expected[seen.index],
            made.membership,
            made.areas,
            enhancement.model_copy(update={"propagation": propagation}),
        )
        expected[seen.index] = enhanced.labels
        np.testing.assert_array_equal(labels, expected)
        if propagation == "gapp":
            assert result.cameras[0].records == enhanced.masks
    assert list(result.stages()) == ["selected", "direct", "labels"]
    density = [(labels != IGNORE).mean() for labels in result.stages().values()]
    assert density[0] < density[2] <= density[1]


def test_points_that_no_camera_sees_keep_their_selection(scene):
    frame, selected = scene
    result = densified(generator_of(), frame, selected)
    assert result.labels[-1] == IGNORE and result.direct is None
    unseen = ~project(frame.points, frame.views[0]).valid
    np.testing.assert_array_equal(result.labels[unseen], selected[unseen])


def test_hidden_points_neither_vote_nor_are_labelled(scene):
    frame, selected = scene
    plain, careful = Columns(60), Columns(60)
    densified(generator_of(plain), frame, selected)
    visibility = VisibilityConfig(enabled=True, cell=0.006, window=10)
    result = densified(generator_of(careful, visibility=visibility), frame, selected)
    hidden = np.setdiff1d(plain.asked[0][1].index, careful.asked[0][1].index)
    assert len(hidden) > 10
    np.testing.assert_array_equal(result.labels[hidden], selected[hidden])


def test_cameras_follow_one_another(scene):
    frame, selected = scene
    view = frame.views[0]
    masks = Columns(60)
    result = densified(generator_of(masks), Frame(0, "lidar", frame.points, (view, view)), selected)
    once = densified(generator_of(), frame, selected)
    assert len(result.cameras) == 2
    np.testing.assert_array_equal(masks.asked[1][2], once.labels[masks.asked[1][1].index])


def test_no_camera(scene):
    frame, selected = scene
    result = densified(generator_of(), Frame(0, "lidar", frame.points), selected)
    np.testing.assert_array_equal(result.labels, selected)


EXACT = SegmenterConfig(precision="float32")  # as the pseudo-labels' networks compute

# Prediction -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def networks():
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(Network(3, TINY).eval().requires_grad_(False))
    return found


@pytest.fixture
def frame():
    frame = small_frame(cameras=2, points=600)
    points = frame.points.copy()
    points[::50] = np.nan
    return replace(frame, points=points)


def predict(generator, networks, frame):
    return generator.predict(networks, PreparedFrame.of(frame, TINY, generator.config.visibility))


def test_one_network_predicts_what_the_segmenter_predicts(networks, frame):
    taxonomy = Taxonomy("shapes", ("a", "b", "c"), np.zeros((3, 3), np.uint8))
    expected = Segmenter(networks[0], taxonomy, EXACT)(frame)
    got = predict(generator_of(classes=3), networks[:1], frame)
    np.testing.assert_array_equal(got.to_frame(got.candidates.labels, IGNORE), expected.labels)
    np.testing.assert_allclose(got.to_frame(got.candidates.probability, 0), expected.probability, atol=1e-5)
    np.testing.assert_array_equal(got.to_frame(got.seen, False), expected.seen)


@pytest.mark.parametrize("branch", ["fused", "2d", "3d"])
@pytest.mark.parametrize("require_agreement", [False, True])
def test_an_ensemble_averages_each_branch_and_then_fuses(networks, frame, branch, require_agreement):
    taxonomy = Taxonomy("shapes", ("a", "b", "c"), np.zeros((3, 3), np.uint8))
    each = [Segmenter(network, taxonomy, EXACT)(frame) for network in networks]
    image, points = (np.mean([getattr(e, name) for e in each], axis=0) for name in ("image", "points"))
    fused = points.copy()
    seen = each[0].seen
    product = image[seen] * points[seen]
    fused[seen] = product / product.sum(1, keepdims=True)
    selection = SelectionConfig(branch=branch, require_agreement=require_agreement)
    expected = candidates(fused, image, points, seen, selection)
    got = predict(generator_of(classes=3, selection=selection), networks, frame)
    np.testing.assert_array_equal(got.to_frame(got.candidates.labels, IGNORE), expected.labels)
    np.testing.assert_allclose(got.to_frame(got.candidates.probability, 0), expected.probability, atol=1e-5)


# Selection ------------------------------------------------------------------------------------------------------------


def made_up(seed, count=400, moved=0.0):
    """The prediction of one frame; a pose so far away that no two frames share a place, unless moved is the same."""
    rng = np.random.default_rng(seed)
    found = Candidates(rng.integers(0, 2, count).astype(np.uint8), rng.random(count).astype(np.float32))
    points = np.random.default_rng(7).uniform(-20, 20, (count, 3)).astype(np.float32) + np.float32(moved)
    return FramePrediction(found, points, rng.random(count) < 0.3, np.arange(count), count)


def test_thresholds_are_those_of_the_frames_that_are_learned_from():
    generator = generator_of()
    learned, judged = [made_up(1), made_up(2, moved=1e3)], [made_up(3, moved=2e3)]
    together = Candidates(
        np.concatenate([each.candidates.labels for each in learned]),
        np.concatenate([each.candidates.probability for each in learned]),
    )
    thresholds = dataset_thresholds(together, 2, SelectionConfig())
    ours, theirs = generator.select(learned, judged)
    for prediction, selection in zip([*learned, *judged], [*ours, *theirs], strict=True):
        found = prediction.candidates
        trusted = found.probability >= thresholds[found.labels]
        np.testing.assert_array_equal(selection.labels, np.where(trusted, found.labels, IGNORE))
        np.testing.assert_array_equal(selection.ensemble, found.labels)
    kept = np.mean([selection.labels != IGNORE for selection in ours])
    assert 0.45 < kept < 0.55


def test_frames_that_are_judged_by_have_no_influence_on_the_others():
    generator = generator_of()
    learned = [made_up(1), made_up(2)]  # of the same place
    alone, _ = generator.select(learned)
    beside, judged = generator.select(learned, [made_up(3)])
    for first, second in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(first.labels, second.labels)
        np.testing.assert_array_equal(first.ensemble, second.ensemble)
    assert (judged[0].ensemble != made_up(3).candidates.labels).any()  # outvoted where the others agree


def test_without_voting_every_sweep_keeps_its_own():
    predictions = [made_up(1), made_up(2)]
    ours, _ = generator_of(voting_cell=0.0).select(predictions)
    for prediction, selection in zip(predictions, ours, strict=True):
        np.testing.assert_array_equal(selection.ensemble, prediction.candidates.labels)


def test_sweeps_vote_alike_however_far_the_odometrys_origin_is(scene):
    """In UTM float32 would put points of other places into one cell, and of one place into two."""
    frame, _ = scene

    def voted(shift):
        generator, predictions = generator_of(classes=3, voting_cell=0.2), []
        for seed, step in enumerate((0.0, 0.03, 0.06)):
            pose = np.eye(4)
            pose[:3, 3] = np.array([step, 0.01, 0]) + shift
            torch.manual_seed(seed)
            predictions.append(predict(generator, [Network(3, TINY).eval()], replace(frame, T_odom_lidar=pose)))
        return predictions, generator.voted(predictions)

    predictions, near = voted((0, 0, 0))
    _, far = voted((500_000.0, 5_400_000.0, 100.0))
    assert any((one.labels != each.candidates.labels).any() for one, each in zip(near, predictions, strict=True))
    for one, other in zip(near, far, strict=True):
        assert (one.labels == other.labels).mean() > 0.99


def test_points_are_in_the_odometry_frame_where_the_pose_is_known(scene):
    frame, _ = scene
    moved = np.eye(4)
    moved[0, 3] = 7

    def prepared(pose):
        return PreparedFrame.of(replace(frame, T_odom_lidar=pose), TINY, VisibilityConfig())

    assert prepared(None).points_odom is None
    assert prepared(np.full((4, 4), np.nan)).points_odom is None
    known = prepared(moved)
    np.testing.assert_allclose(known.points_odom, known.sample.points + np.float32([7, 0, 0]), rtol=1e-5)


def test_points_are_in_the_odometry_frame_however_the_lidar_is_mounted(scene):
    frame, _ = scene
    pose, mounting = np.eye(4), np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_euler("z", 0.3).as_matrix(), (5, 2, 1)
    mounting[:3, :3] = Rotation.from_euler("y", 0.4).as_matrix()
    tilted = replace(frame, T_odom_lidar=pose @ mounting, T_base_lidar=mounting)
    prepared = PreparedFrame.of(tilted, TINY, VisibilityConfig())
    expected, got = transform_points(pose @ mounting, frame.points[prepared.sample.rows]), prepared.points_odom
    np.testing.assert_allclose(got, expected, atol=1e-4)
