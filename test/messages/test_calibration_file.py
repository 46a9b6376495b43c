import numpy as np
import pytest
import yaml
from numpy.testing import assert_allclose

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry import CameraModel, Distortion, TransformTree, invert, make_transform
from sam_adapt_ros.messages import Calibration, CameraCalibration

LIDAR = make_transform((0.9, 0, 1.8), (0, 0, 0.01, 1))
CAMERA = make_transform((1.7, 0.1, 1.5), (-0.5, 0.5, -0.5, 0.5))
K = np.array([[600.0, 0, 402.3], [0, 610.0, 221.7], [0, 0, 1]])


def calibration() -> Calibration:
    cameras = {
        "front": CameraCalibration("front_optical", CAMERA, CameraModel(800, 450, K)),
        "rear": CameraCalibration(
            "rear_optical", invert(CAMERA), CameraModel(80, 45, K, Distortion.EQUIDISTANT, (0.1, 0.2, 0.0, 0.01))
        ),
    }
    return Calibration("lidar", "base_link", "odom", LIDAR, cameras)


def test_a_calibration_survives_the_file(tmp_path):
    path = tmp_path / "calibration.yaml"
    calibration().save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["calibration.yaml"]
    got = Calibration.load(path)
    assert (got.lidar_frame, got.base_frame, got.odometry_frame) == ("lidar", "base_link", "odom")
    assert_allclose(got.T_base_lidar, LIDAR, atol=1e-12)
    assert list(got.cameras) == ["front", "rear"]
    for name, camera in calibration().cameras.items():
        loaded = got.cameras[name]
        assert loaded.frame_id == camera.frame_id
        assert_allclose(loaded.T_base_camera, camera.T_base_camera, atol=1e-12)
        assert (loaded.model.width, loaded.model.height) == (camera.model.width, camera.model.height)
        assert (loaded.model.distortion, loaded.model.D) == (camera.model.distortion, camera.model.D)
        assert_allclose(loaded.model.K, camera.model.K)


def test_a_calibration_feeds_the_tree():
    tree = TransformTree()
    calibration().feed(tree)
    assert_allclose(tree.lookup("front_optical", "lidar", 5), invert(CAMERA) @ LIDAR, atol=1e-12)


def test_a_lidar_may_be_the_base():
    tree = TransformTree()
    Calibration("base", "base", "odom", np.eye(4), {}).feed(tree)
    assert tree.frames() == ()


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (("lidar_frame",), None, "lidar_frame: Field required"),
        (("base_frame",), 3, "base_frame: Input should be a valid string (got 3)"),
        (("odometry_frame",), "", "odometry_frame: String should have at least 1 character"),
        (("T_base_lidar",), None, "T_base_lidar: Field required"),
        (("T_base_lidar",), [1, 2], "T_base_lidar: Input should be a valid dictionary"),
        (("T_base_lidar", "translation"), [1, 2], "T_base_lidar.translation: List should have at least 3 items"),
        (("T_base_lidar", "rotation_xyzw"), [0, 0, 0, 0], "T_base_lidar: finite translation and non-zero"),
        (
            ("T_base_lidar", "rotation_xyzw"),
            [0, 0, 0, "w"],
            "T_base_lidar.rotation_xyzw.3: Input should be a valid number",
        ),
        (("cameras",), ["front"], "cameras: Input should be a valid dictionary"),
        (("cameras", "front"), None, "cameras.front: Input should be a valid dictionary"),
        (("cameras", "front", "width"), 10.5, "cameras.front.width: Input should be a valid integer (got 10.5)"),
        (
            ("cameras", "front", "K"),
            [1, 2, 3],
            "cameras.front.K: List should have at least 9 items",
        ),
        (("cameras", "front", "K"), [0] * 9, "cameras.front: camera matrix K"),
        (("cameras", "front", "distortion"), "ocam", "cameras.front.distortion: Input should be 'none', 'plumb_bob'"),
        (("cameras", "front", "D"), [1.0], "cameras.front: distortion coefficients D"),
        (("cameras", "front", "frame_id"), None, "cameras.front.frame_id: Field required"),
        (("cameras", "front", "T_base_camera", "translation"), "x", "cameras.front.T_base_camera.translation"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, path, value, text):
    file = tmp_path / "calibration.yaml"
    calibration().save(file)
    data = yaml.safe_load(file.read_text())
    section = data
    for key in path[:-1]:
        section = section[key]
    if value is None and path != ("cameras", "front"):
        del section[path[-1]]
    else:
        section[path[-1]] = value
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(CalibrationError) as caught:
        Calibration.load(file)
    assert str(file) in str(caught.value) and text in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"- 1\n- 2\n", b"a: [1", b"\xff\xfe\x00", b"!!python/object/apply:os.getcwd []"]
)
def test_what_is_no_calibration_file(tmp_path, content):
    file = tmp_path / "calibration.yaml"
    file.write_bytes(content)
    with pytest.raises(CalibrationError, match=r"calibration\.yaml"):
        Calibration.load(file)


def test_a_missing_file(tmp_path):
    with pytest.raises(CalibrationError, match="nowhere"):
        Calibration.load(tmp_path / "nowhere.yaml")
