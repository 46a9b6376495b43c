import logging

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry import Distortion
from sam_adapt_ros.messages import camera_from_info, optical_from_info

K = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])


@pytest.mark.parametrize(
    ("model", "d", "expected"),
    [
        ("plumb_bob", (0.1, -0.2, 0.001, 0.002, 0.05), Distortion.PLUMB_BOB),
        ("plumb_bob", (0.1, -0.2, 0.001, 0.002), Distortion.PLUMB_BOB),
        ("plumb_bob", (), Distortion.NONE),
        ("plumb_bob", (0, 0, 0, 0, 0), Distortion.NONE),
        ("rational_polynomial", (0.1, 0.2, 0, 0, 0.1, 0.2, 0.1, 0.1), Distortion.RATIONAL_POLYNOMIAL),
        ("rational_polynomial", (0.1, 0.2, 0, 0, 0.1, 0.2, 0.1, 0.1, 0, 0, 0, 0, 0, 0), Distortion.RATIONAL_POLYNOMIAL),
        ("equidistant", (0.1, 0.02, 0, 0), Distortion.EQUIDISTANT),
        ("equidistant", (0, 0, 0, 0), Distortion.EQUIDISTANT),
        ("fisheye", (0.1, 0.02, 0, 0), Distortion.EQUIDISTANT),
        ("", (), Distortion.NONE),
        ("", (0, 0, 0, 0, 0), Distortion.NONE),
    ],
)
def test_distortion_models(ros, model, d, expected):
    camera = camera_from_info(ros.info(d=d, model=model), rectified=False)
    assert camera.distortion is expected
    assert (camera.width, camera.height) == (64, 48)
    assert_array_equal(camera.K, K)
    assert (() if expected is Distortion.NONE else tuple(d)[: len(camera.D)]) == camera.D


def test_a_rectified_image_goes_by_p(ros):
    p = [40.0, 0, 30, 0, 0, 41, 20, 0, 0, 0, 1, 0]
    camera = camera_from_info(ros.info(d=(0.1, 0.2, 0, 0, 0), p=p), rectified=True)
    assert camera.distortion is Distortion.NONE and camera.D == ()
    assert_array_equal(camera.K, [[40, 0, 30], [0, 41, 20], [0, 0, 1]])
    unknown = ros.info(d=(0.1, 0.2), model="ocam", p=p)
    assert camera_from_info(unknown, rectified=True).distortion is Distortion.NONE  # not needed, so not looked at


@pytest.mark.parametrize("k", [[0.0] * 9, [float("nan")] * 9])
def test_a_rectified_image_does_not_need_k(ros, k):
    """As drivers of stereo cameras send it, which publish rectified images only."""
    p = [40.0, 0, 30, -4.0, 0, 41, 20, 0, 0, 0, 1, 0]
    msg = ros.info(k=k, p=p)
    camera = camera_from_info(msg, rectified=True)
    assert_array_equal(camera.K, [[40, 0, 30], [0, 41, 20], [0, 0, 1]])
    assert_allclose(optical_from_info(msg, rectified=True)[:3, 3], (-0.1, 0, 0))
    with pytest.raises(CalibrationError, match="CameraInfo k: .*rectified" if not any(k) else "CameraInfo k: .*finite"):
        camera_from_info(msg, rectified=False)
    with pytest.raises(CalibrationError, match="k and p: all zero"):
        camera_from_info(ros.info(k=[0.0] * 9, p=[0] * 12), rectified=True)


def test_a_raw_image_does_not_need_p(ros):
    msg = ros.info(p=[float("nan")] * 12, r=[float("nan")] * 9)
    assert_array_equal(camera_from_info(msg, rectified=False).K, K)
    assert_array_equal(optical_from_info(msg, rectified=False), np.eye(4))


def test_a_rectified_image_without_p_goes_by_k_if_undistorted(ros):
    assert_array_equal(camera_from_info(ros.info(p=[0] * 12), rectified=True).K, K)
    with pytest.raises(CalibrationError, match="p: all zero"):
        camera_from_info(ros.info(p=[0] * 12, d=(0.1, 0, 0, 0, 0)), rectified=True)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"k": [0.0] * 9, "p": [0] * 12}, "k: all zero"),
        ({"k": [0.0] * 9, "p": [1.0] * 12}, "k: all zero"),
        ({"model": "ocam", "d": (0.1, 0.2)}, "'ocam'"),
        ({"model": "ocam"}, "'ocam'"),
        ({"model": "", "d": (0.1, 0.2, 0, 0, 0)}, "distortion_model"),
        ({"model": "plumb_bob", "d": (0.1, 0.2, 0)}, "4 or 5 expected"),
        ({"model": "equidistant", "d": (0.1, 0.2, 0)}, "4 expected"),
        ({"model": "rational_polynomial", "d": (0.1,) * 14}, "8 expected"),
        ({"d": (float("nan"), 0.2, 0, 0, 0)}, "finite"),
        ({"k": [float("nan"), 0, 1, 0, 1, 1, 0, 0, 1]}, "finite"),
        ({"k": [-5.0, 0, 1, 0, 1, 1, 0, 0, 1]}, "positive focal lengths"),
        ({"k": [5.0, 0, 1, 0, 0, 1, 0, 0, 1]}, "positive focal lengths"),
        ({"k": [5.0, 0, 1, 0, 5, 1, 0, 0, 0]}, "expected, got"),
        ({"width": 0}, "positive sizes"),
        ({"height": 0}, "positive sizes"),
        ({"roi": {"width": 65, "height": 48}}, "roi"),
        ({"roi": {"x_offset": 10, "width": 60, "height": 48}}, "roi"),
        ({"roi": {"y_offset": 100}}, "roi"),
        ({"binning_x": 100}, "positive sizes"),
    ],
)
def test_unusable_intrinsics_are_refused(ros, changes, text):
    with pytest.raises(CalibrationError, match="CameraInfo") as caught:
        camera_from_info(ros.info(**changes), rectified=False)
    assert caught.value.reason == "camera_info" and text in str(caught.value)


def test_binning_and_region_of_interest_equal_cutting_the_image(ros):
    """The model must follow what happens to the pixels: cut a region out of a picture and average blocks of 2 x 3."""
    v, u = np.mgrid[:48, :64].astype(np.float64)
    region = {"x_offset": 8, "y_offset": 6, "width": 40, "height": 36}
    camera = camera_from_info(ros.info(roi=region, binning_x=2, binning_y=3), rectified=False)
    assert (camera.width, camera.height) == (20, 12)
    cut = slice(6, 42), slice(8, 48)
    mean_u, mean_v = (image[cut].reshape(12, 3, 20, 2).mean((1, 3)) for image in (u, v))  # full-size coordinates
    for row, column in ((0, 0), (5, 7), (11, 19)):
        ray = np.array([(mean_u[row, column] - 31.5) / 50, (mean_v[row, column] - 23.5) / 50, 1.0])
        uv, _, valid = camera.project(ray[None] * 7)
        assert valid[0]
        assert_allclose(uv[0], (column, row), atol=1e-4)


def test_binning_of_one_and_a_full_region_change_nothing(ros):
    for changes in ({"binning_x": 1, "binning_y": 1}, {"roi": {"width": 64, "height": 48}}):
        camera = camera_from_info(ros.info(**changes), rectified=False)
        assert_array_equal(camera.K, K)
        assert (camera.width, camera.height) == (64, 48)


def test_distortion_survives_binning(ros):
    d = (-0.2, 0.05, 0.001, 0.002, 0.0)
    point = np.array([[0.3, -0.2, 1.5]])
    full = cv2.projectPoints(point, np.zeros(3), np.zeros(3), K, np.array(d))[0].reshape(2)
    uv, _, _ = camera_from_info(ros.info(d=d, binning_x=2, binning_y=2), rectified=False).project(point)
    assert_allclose(uv[0], (full + 0.5) / 2 - 0.5, atol=1e-4)


def test_the_second_camera_of_a_stereo_pair(ros):
    baseline = 0.12
    msg = ros.info(p=[50.0, 0, 31.5, -50.0 * baseline, 0, 50, 23.5, 0, 0, 0, 1, 0])
    T = optical_from_info(msg, rectified=True)
    assert_allclose(T[:3, 3], (-baseline, 0, 0), atol=1e-12)
    point = np.array([1.0, 2.0, 10.0])
    P = np.array(msg.p).reshape(3, 4)
    u, v, w = P @ [*point, 1]
    uv, _, _ = camera_from_info(msg, rectified=True).project((T[:3, :3] @ point + T[:3, 3])[None])
    assert_allclose(uv[0], (u / w, v / w), atol=1e-4)
    assert_array_equal(optical_from_info(msg, rectified=False), np.eye(4))


def test_a_raw_image_is_turned_back_by_r(ros):
    R = Rotation.from_rotvec([0.01, -0.02, 0.005]).as_matrix()
    msg = ros.info(r=R.reshape(-1), d=(0.1, 0, 0, 0, 0))
    assert_allclose(optical_from_info(msg, rectified=False)[:3, :3], R.T, atol=1e-12)
    assert_array_equal(optical_from_info(msg, rectified=True), np.eye(4))
    assert_array_equal(optical_from_info(ros.info(r=[0] * 9), rectified=False), np.eye(4))


def test_an_r_that_is_no_rotation_matters_only_when_needed(ros, caplog):
    broken = [1.0, 0, 0, 1, 0, 0, 1, 0, 0]  # as nuscenes_rosbag writes it
    frame = f"camera_{id(ros)}"
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            T = optical_from_info(ros.info(r=broken, model="", frame_id=frame), rectified=False)
            assert_array_equal(T, np.eye(4))
    assert len(caplog.records) == 1 and frame in caplog.text
    assert_array_equal(optical_from_info(ros.info(r=broken, d=(0.1, 0, 0, 0, 0)), rectified=True), np.eye(4))
    with pytest.raises(CalibrationError, match="r: a rotation expected"):
        optical_from_info(ros.info(r=broken, d=(0.1, 0, 0, 0, 0)), rectified=False)
