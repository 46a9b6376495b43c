import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.geometry import CameraModel, Distortion, assign_cameras, make_transform, project, project_all

K = np.array([[1266.4, 0, 816.3], [0, 1266.4, 491.5], [0, 0, 1]])
FORWARD = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # LiDAR axes (x forward) -> optical axes


def view(angle, fov_scale=1.0, offset=(0, 0, 0)) -> CameraView:
    """A camera that looks towards an angle about the vertical."""
    turn = make_transform((0, 0, 0), (0, 0, np.sin(-angle / 2), np.cos(-angle / 2)))
    T = np.eye(4)
    T[:3, :3] = FORWARD @ turn[:3, :3]
    T[:3, 3] = offset
    camera = CameraModel(
        1600,
        900,
        K * [[fov_scale], [fov_scale], [1]]
        + [[0, 0, 816.3 * (1 - fov_scale)], [0, 0, 491.5 * (1 - fov_scale)], [0, 0, 0]],
    )
    return CameraView(f"{angle:.1f}", 0, np.empty((900, 1600, 3), np.uint8), camera, T)


def ring_of_six(fov_scale=1.0):
    return [view(k * np.pi / 3, fov_scale, (0.1 * k, 0, 0.2)) for k in range(6)]


def sweep(count=34_688, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.uniform((-60, -60, -3), (60, 60, 8), (count, 3)).astype(np.float32)
    points[::997] = np.nan
    return points


def slow_project(point, a_view):
    x, y, z = a_view.T_camera_lidar[:3, :3] @ point + a_view.T_camera_lidar[:3, 3]
    if not z > 0.1:
        return None
    u, v, _ = a_view.camera.K @ (x / z, y / z, 1)
    inside = -0.5 <= u < a_view.camera.width - 0.5 and -0.5 <= v < a_view.camera.height - 0.5
    return (u, v, np.arccos(z / np.sqrt(x * x + y * y + z * z))) if inside else None


def test_projection_equals_the_slow_reference():
    points = sweep(3000)
    a_view = view(0.3, offset=(0.5, -0.2, 0.1))
    got = project(points, a_view)
    assert got.uv.dtype == got.depth.dtype == np.float32
    for n, point in enumerate(points.astype(np.float64)):
        expected = slow_project(point, a_view)
        assert got.valid[n] == (expected is not None)
        if expected is not None:
            assert_allclose(got.uv[n], expected[:2], atol=5e-3)
    assert 100 < got.valid.sum() < 2000


@pytest.mark.parametrize("fov_scale", [1.0, 0.5])
def test_points_take_the_nearest_optical_axis(fov_scale):
    points, views = sweep(3000), ring_of_six(fov_scale)
    got = assign_cameras(project_all(points, views), len(points))
    assert got.camera.dtype == np.int8 and got.uv.dtype == np.float32
    overlaps = 0
    for n, point in enumerate(points.astype(np.float64)):
        seen = {k: hit for k, v in enumerate(views) if (hit := slow_project(point, v)) is not None}
        if not seen:
            assert got.camera[n] == -1 and np.isnan(got.uv[n]).all()
            continue
        overlaps += len(seen) > 1
        angles = {k: hit[2] for k, hit in seen.items()}
        assert angles[got.camera[n]] <= min(angles.values()) + 1e-3
        assert_allclose(got.uv[n], seen[got.camera[n]][:2], atol=5e-3)
    assert overlaps > 20


@pytest.mark.filterwarnings("error")
def test_points_at_absurd_distances_warn_of_nothing():
    found = project(np.array([[1e30, 0, 0], [3e38, 0, 0], [10, 0, 0]], np.float32), view(0.0))
    assert found.valid.all() and np.isfinite(found.cosine).all()


def test_no_cameras_and_no_points():
    got = assign_cameras([], 10)
    assert_array_equal(got.camera, [-1] * 10)
    nothing = np.empty((0, 3), np.float32)
    assert assign_cameras(project_all(nothing, ring_of_six()), 0).uv.shape == (0, 2)
    assert project(np.empty((0, 3), np.float32), view(0)).uv.shape == (0, 2)


def test_a_distorted_camera_projects_as_its_model_does():
    camera = CameraModel(1600, 900, K, Distortion.PLUMB_BOB, (-0.3, 0.1, 0.001, 0.001, 0))
    a_view = view(0)
    a_view = CameraView("a", 0, a_view.image, camera, a_view.T_camera_lidar)
    points = sweep(2000)
    uv, _, valid = camera.project((a_view.T_camera_lidar[:3, :3] @ points.T.astype(np.float64)).T)
    got = project(points, a_view)
    assert_array_equal(got.valid, valid)
    assert_allclose(got.uv[valid], uv[valid], atol=1e-2)
