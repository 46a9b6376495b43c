import numpy as np
import pytest

from sam_adapt_ros.benchmarks.street import occlusion
from sam_adapt_ros.config import VisibilityConfig
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.geometry import CameraModel, project, visibility
from sam_adapt_ros.geometry.visibility import visible

CONFIG = VisibilityConfig()
K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])


def view_of(T_camera_lidar=np.eye(4)):
    return CameraView("c", 0, np.zeros((480, 640, 3), np.uint8), CameraModel(640, 480, K), T_camera_lidar)


def see(points, config=CONFIG):
    """Points in the camera's own frame: x right, y down, z forward."""
    points = np.asarray(points, np.float32)
    view = view_of()
    return visible(project(points, view), view, config)


def wall(depth, left, right, top, bottom, step=0.002):
    """Points of an upright wall, on a grid of angles (tangents)."""
    x, y = np.meshgrid(np.arange(left, right, step), np.arange(top, bottom, step))
    return np.stack([x.ravel() * depth, y.ravel() * depth, np.full(x.size, depth)], 1)


def test_what_a_wall_covers_is_hidden_and_the_rest_is_not():
    near, far = wall(5, -0.1, 0.1, -0.1, 0.1), wall(20, -0.3, 0.3, -0.3, 0.3)
    seen = see(np.concatenate([near, far]))
    assert seen[: len(near)].all()
    tangents = np.abs(far[:, :2] / 20).max(1)
    far_seen = seen[len(near) :]
    assert not far_seen[tangents < 0.09].any()
    assert far_seen[tangents > 0.105].all()


def test_the_margin_grows_with_depth(monkeypatch):
    monkeypatch.setattr(visibility, "MARGIN_PER_METRE", 0.25)
    near = wall(16, -0.1, 0.1, -0.1, 0.1)
    for depth, covered in ((21.2, False), (21.5, True)):  # 16 m is nearer by a quarter from 21.33 m on
        behind = see(np.concatenate([near, wall(depth, -0.05, 0.05, -0.05, 0.05)]))[len(near) :]
        assert not behind.any() if covered else behind.all()


def test_the_margin_holds_nearby():
    near = wall(2, -0.1, 0.1, -0.1, 0.1)
    assert see(np.concatenate([near, wall(2.4, -0.05, 0.05, -0.05, 0.05)])).all()
    assert not see(np.concatenate([near, wall(2.6, -0.05, 0.05, -0.05, 0.05)]))[len(near) :].any()


def test_a_road_does_not_hide_itself():
    x, z = np.meshgrid(np.linspace(-10, 10, 200), np.geomspace(4, 70, 400))
    road = np.stack([x.ravel(), np.full(x.size, 1.6), z.ravel()], 1)
    valid = project(road.astype(np.float32), view_of()).valid
    assert see(road)[valid].all()


def test_the_window_bridges_the_gap_between_beams():
    """An occluder of three beams, 0.02 rad apart; a point between two of them."""
    beams = np.concatenate([wall(5, -0.05, 0.05, y, y + 0.001) for y in (-0.02, 0.0, 0.02)])
    points = np.concatenate([beams, [[0, 0.2, 20]]])
    assert not see(points)[-1]
    assert see(points, VisibilityConfig(window=2))[-1]


def test_points_that_do_not_project_are_not_visible():
    seen = see([[0, 0, 5], [0, 0, -5], [50, 0, 5], [np.nan, 0, 5]])
    np.testing.assert_array_equal(seen, [True, False, False, False])
    assert see(np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize("seed", [0, 1])
def test_against_rays_cast_from_the_camera(seed):
    points, view, hidden = occlusion(21_000, seed)
    projection = project(points, view)
    seen = visible(projection, view, CONFIG)
    found = projection.valid & ~seen
    hidden &= projection.valid
    assert hidden.sum() > 1000
    assert (found & hidden).sum() >= 0.98 * found.sum()  # what is called hidden is
    assert (found & hidden).sum() >= 0.7 * hidden.sum()  # outlines stay
