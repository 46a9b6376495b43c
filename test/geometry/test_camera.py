import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry import CameraModel, Distortion

K = np.array([[600.0, 0, 402.3], [0, 610.0, 221.7], [0, 0, 1]])
SIZE = (800, 450)
LENSES = {
    Distortion.NONE: (),
    Distortion.PLUMB_BOB: (-0.25, 0.08, 0.001, -0.002, -0.01),
    Distortion.RATIONAL_POLYNOMIAL: (0.1, 0.02, 0.001, -0.001, 0.01, 0.12, 0.03, 0.02),
    Distortion.EQUIDISTANT: (0.01, -0.02, 0.003, -0.001),
}


def opencv(points, camera):
    """(N, 2) float64 by OpenCV, which knows neither image borders nor fold-over."""
    zero = np.zeros(3)
    if camera.distortion is Distortion.EQUIDISTANT:
        return cv2.fisheye.projectPoints(points[:, None], zero, zero, camera.K, np.array(camera.D))[0][:, 0]
    D = np.array(camera.D) if camera.D else None
    return cv2.projectPoints(points, zero, zero, camera.K, D)[0][:, 0]


def scattered(count=4000, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.uniform((-60, -40, -20), (60, 40, 60), (count, 3))
    points[:200, 2] = rng.uniform(-0.3, 0.3, 200)  # about the image plane
    return points


@pytest.mark.parametrize("distortion", LENSES)
def test_pixels_equal_opencv(distortion):
    camera = CameraModel(*SIZE, K, distortion, LENSES[distortion])
    points = scattered()
    uv, depth, valid = camera.project(points)
    assert valid.sum() > 300
    assert uv.dtype == depth.dtype == np.float32 and valid.dtype == bool
    assert_allclose(uv[valid], opencv(points[valid], camera), atol=2e-3)
    assert_allclose(depth, points[:, 2], rtol=1e-6)


@pytest.mark.parametrize("distortion", LENSES)
def test_valid_is_exactly_what_the_image_shows(distortion):
    """Against the definition, point by point: nothing is lost to the culling that makes it fast."""
    camera = CameraModel(*SIZE, K, distortion, LENSES[distortion])
    points = scattered()
    points = points[points[:, 2] > 0.11]
    u, v = opencv(points, camera).T
    inside = (u >= -0.5) & (u < 799.5) & (v >= -0.5) & (v < 449.5)
    edge = (np.abs(u + 0.5) < 0.01) | (np.abs(u - 799.5) < 0.01) | (np.abs(v + 0.5) < 0.01) | (np.abs(v - 449.5) < 0.01)
    _, _, valid = camera.project(points)
    r = np.hypot(points[:, 0], points[:, 1]) / points[:, 2]
    # None of these lenses' image reaches their turning point, so it alone tells fold-over.
    turn = {Distortion.PLUMB_BOB: 2.0}.get(distortion, np.inf)
    expected = inside & (r < turn)
    assert_array_equal(valid[~edge], expected[~edge])


def test_points_behind_and_near_the_camera_are_not_seen():
    camera = CameraModel(*SIZE, K)
    points = np.array([[0, 0, -5.0], [0, 0, 0], [0, 0, 0.1], [0, 0, 0.1001], [0, 0, 5], [0, 0, 1e-30]])
    assert_array_equal(camera.project(points)[2], [False, False, False, True, True, False])


def test_non_finite_points_are_not_seen():
    bad = [np.nan, np.inf, -np.inf]
    points = np.array([[x, y, z] for x in [*bad, 0] for y in [*bad, 0] for z in [*bad, 5]])
    for distortion, D in LENSES.items():
        _, _, valid = CameraModel(*SIZE, K, distortion, D).project(points)
        assert_array_equal(valid, [False] * 63 + [True])


def test_no_points():
    uv, depth, valid = CameraModel(*SIZE, K).project(np.empty((0, 3), np.float32))
    assert uv.shape == (0, 2) and depth.shape == valid.shape == (0,)


def test_the_border_is_half_a_pixel_around_the_outermost_centres():
    camera = CameraModel(100, 50, [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    u = np.array([-0.5, -0.51, 99.49, 99.5, 0, 0, 0, 0])
    v = np.array([0, 0, 0, 0, -0.5, -0.51, 49.49, 49.5])
    _, _, valid = camera.project(np.stack([u, v, np.ones(8)], 1))
    assert_array_equal(valid, [True, False, True, False] * 2)


def test_a_barrel_lens_does_not_fold_points_back_into_the_image():
    camera = CameraModel(*SIZE, K, Distortion.PLUMB_BOB, (-0.3, 0.0, 0, 0, 0))
    slope = np.linspace(0, 3, 3001)
    points = np.stack([slope, np.zeros_like(slope), np.ones_like(slope)], 1)
    folded = opencv(points, camera)[:, 0]
    turn = np.sqrt(1 / 0.9)  # 1 + 3 k1 r^2 = 0
    assert ((folded > 0) & (folded < 799) & (slope > turn + 0.01)).any()  # OpenCV puts them into the image
    _, _, valid = camera.project(points)
    assert not valid[slope > turn].any()
    u = folded[valid]
    assert (np.diff(u) > 0).all()
    # Off the axes each coordinate is small enough, but their length is not.
    diagonal = np.stack([slope, slope, np.ones_like(slope)], 1) * (0.7, 0.35, 1)
    _, _, valid = camera.project(diagonal)
    assert_array_equal(valid & (np.hypot(diagonal[:, 0], diagonal[:, 1]) > turn), False)
    assert valid.any()


def test_a_pole_of_the_rational_model_ends_its_domain():
    D = (0.0, 0.0, 0.0, 0.0, 0.0, -0.5, 0.0, 0.0)  # denominator zero at r = sqrt 2
    camera = CameraModel(20_000, 20_000, [[600, 0, 10_000], [0, 600, 10_000], [0, 0, 1]], "rational_polynomial", D)
    slope = np.linspace(0, 10, 1001)
    _, _, valid = camera.project(np.stack([slope, np.zeros_like(slope), np.ones_like(slope)], 1))
    assert valid[slope < 1.3].all() and not valid[slope > np.sqrt(2)].any()


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_fisheye_stops_where_its_polynomial_turns(order):
    D = [0.0] * 4
    D[order - 1] = -0.2
    camera = CameraModel(2000, 2000, [[600, 0, 1000], [0, 600, 1000], [0, 0, 1]], Distortion.EQUIDISTANT, D)
    theta = np.linspace(0.01, 1.55, 500)
    _, _, valid = camera.project(np.stack([np.sin(theta), np.zeros_like(theta), np.cos(theta)], 1) * 10)
    turn = (1 / (0.2 * (2 * order + 1))) ** (1 / (2 * order))  # d/dtheta [theta + k theta^(2 n + 1)] = 0
    assert_array_equal(valid, (theta < turn) & (np.cos(theta) * 10 > 0.1))


@pytest.mark.parametrize("place", [0, 1, 4])
def test_a_barrel_lens_stops_where_its_polynomial_turns(place):
    D, order = [0.0] * 5, {0: 1, 1: 2, 4: 3}[place]
    D[place] = -0.2
    camera = CameraModel(4000, 4000, [[600, 0, 2000], [0, 600, 2000], [0, 0, 1]], Distortion.PLUMB_BOB, D)
    slope = np.linspace(0, 4, 800)
    _, _, valid = camera.project(np.stack([slope, np.zeros_like(slope), np.ones_like(slope)], 1))
    assert_array_equal(valid, slope < (1 / (0.2 * (2 * order + 1))) ** (1 / (2 * order)))


@pytest.mark.parametrize("distortion", LENSES)
def test_unproject_is_the_inverse(distortion):
    camera = CameraModel(*SIZE, K, distortion, LENSES[distortion])
    points = scattered()
    uv, depth, valid = camera.project(points)
    back = camera.unproject(opencv(points[valid], camera), points[valid, 2])
    assert back.dtype == np.float64
    assert_allclose(back, points[valid], atol=1e-6)
    assert_allclose(camera.unproject(uv[valid], depth[valid]), points[valid], atol=1e-3)
    assert_allclose(camera.unproject(uv[valid], 2.0)[:, 2], 2.0)


@pytest.mark.parametrize(("kind", "count"), [("plumb_bob", 5), ("rational_polynomial", 8), ("equidistant", 4)])
def test_coefficients_that_are_nearly_nothing_change_nothing(kind, count):
    points = np.random.default_rng(0).uniform((-3, -3, 1), (3, 3, 9), (100, 3))
    D = np.linspace(0.01, -0.01, count) * (np.arange(count) % 2)
    expected = CameraModel(64, 48, K, kind, tuple(D)).project(points)
    found = CameraModel(64, 48, K, kind, tuple(np.where(D == 0, 1e-320, D))).project(points)
    for one, other in zip(expected, found, strict=True):
        assert_allclose(one, other)


def test_pixels_that_no_ray_meets_are_nan():
    camera = CameraModel(2000, 2000, [[600, 0, 1000], [0, 600, 1000], [0, 0, 1]], Distortion.PLUMB_BOB, (-0.3, 0, 0, 0))
    rays = camera.unproject([[1000, 1000], [0, 0], [1400, 1000]], 1.0)
    assert np.isfinite(rays[[0, 2]]).all() and np.isnan(rays[1, :2]).all()
    # ... and the domain that the image does show is still whole.
    points = np.array([[1.0, 0, 1], [0.0, 1.04, 1], [0.7, 0.7, 1]])
    assert camera.project(points)[2].all()


@settings(max_examples=50, deadline=None)
@given(
    width=st.integers(1, 2000),
    height=st.integers(1, 2000),
    u=st.floats(-0.5, 799),
    v=st.floats(-0.5, 449),
    lens=st.sampled_from(list(LENSES)),
)
def test_scaling_keeps_the_images_edges(width, height, u, v, lens):
    camera = CameraModel(*SIZE, K, lens, LENSES[lens])
    small = camera.scaled(width, height)
    assert (small.width, small.height) == (width, height)
    point = camera.unproject([[u, v]], 4.0)
    got = opencv(point, small)[0]
    expected = (np.array([u, v]) + 0.5) * (width / 800, height / 450) - 0.5
    assert_allclose(got, expected, atol=1e-6 * max(width, height))


def test_scaling_equals_averaging_pixels():
    camera = CameraModel(8, 6, [[5.0, 0, 3.5], [0, 5.0, 2.5], [0, 0, 1]])
    half = camera.scaled(4, 3)
    assert_allclose(half.K, [[2.5, 0, 1.5], [0, 2.5, 1.0], [0, 0, 1]])
    assert_allclose(camera.scaled(8, 6).K, camera.K)


def test_skew():
    camera = CameraModel(*SIZE, [[600, 12.0, 400], [0, 610, 220], [0, 0, 1]])
    point = np.array([[1.0, 2.0, 9.0]])
    u, v, w = camera.K @ point[0]
    assert_allclose(camera.project(point)[0][0], (u / w, v / w), rtol=1e-6)
    assert_allclose(camera.unproject([[u / w, v / w]], 9.0), point, atol=1e-9)


def test_the_model_does_not_share_its_matrix():
    matrix = K.copy()
    camera = CameraModel(*SIZE, matrix)
    matrix[0, 0] = 1
    assert camera.K[0, 0] == 600
    with pytest.raises(ValueError, match="read-only"):
        camera.K[0, 0] = 1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"width": 0}, "positive sizes"),
        ({"height": -1}, "positive sizes"),
        ({"K": np.eye(4)}, "3 x 3"),
        ({"K": K * np.nan}, "finite"),
        ({"K": np.diag([1e300, 1e300, 1])}, "finite numbers up to"),
        ({"distortion": "plumb_bob", "D": (0, 0, 0, 0, 1e300)}, "finite numbers up to"),
        ({"K": np.zeros((3, 3))}, "focal"),
        ({"K": K.T}, "expected, got"),
        ({"distortion": Distortion.PLUMB_BOB, "D": (1.0,) * 3}, "4 or 5 expected for plumb_bob, got 3"),
        ({"distortion": Distortion.EQUIDISTANT, "D": ()}, "4 expected"),
        ({"distortion": Distortion.NONE, "D": (0.1,)}, "0 expected"),
        ({"distortion": Distortion.EQUIDISTANT, "D": (np.inf, 0, 0, 0)}, "finite"),
    ],
)
def test_what_is_no_camera_is_refused(changes, text):
    with pytest.raises(CalibrationError, match=r"camera|distortion") as caught:
        CameraModel(**({"width": 800, "height": 450, "K": K} | changes))
    assert text in str(caught.value)
