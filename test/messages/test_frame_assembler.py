import json

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import MessageError, TaxonomyError
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.geometry import CameraModel, assign_cameras, invert, make_transform, project_all
from sam_adapt_ros.messages import (
    Calibration,
    CameraCalibration,
    FrameAssembler,
    encode_cloud,
    encode_labels,
)
from sam_adapt_ros.messages.mounting import TILTED_SWEEPS
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.taxonomy import Taxonomy

SECOND = 10**9
T0 = 1_532_402_927 * SECOND
IDENTITY = (0, 0, 0, 1)
OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # base axes (x forward) -> optical axes
RGB = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
CAMERAS = ("front", "rear")


def config(**changes) -> Config:
    flat = {f"cameras.{name}.image": f"/{name}/image" for name in CAMERAS}
    return Config.from_flat(flat | {"taxonomy": "town"} | changes)


def town() -> Taxonomy:
    taxonomy = Taxonomy.load("town")
    return Taxonomy(taxonomy.name, taxonomy.classes, taxonomy.palette, {"raw": {17: 2, 300: 3}})


def points(count=20):
    return np.random.default_rng(1).uniform(-20, 20, (count, 3)).astype(np.float32)


def cloud(ros, p=None, **changes):
    p = points() if p is None else p
    return ros.cloud(encode_cloud({"x": p[:, 0], "y": p[:, 1], "z": p[:, 2]}), T0, **changes)


def pose(stamp_ns):
    return (10 * (stamp_ns - T0) / SECOND, 0, 0), IDENTITY  # 10 m/s ahead


def assembler(ros, info=True, tf=True, odometry=True, **changes) -> FrameAssembler:
    made = FrameAssembler(config(**changes), town())
    if info:
        for name in CAMERAS:
            made.set_camera_info(name, ros.info(frame_id=name))
    if tf:
        mounts = [(name, (1, 0, 1), OPTICAL) for name in CAMERAS]
        made.transforms.tf(
            ros.tf(*[("base_link", name, 0, t, q) for name, t, q in [*mounts, ("lidar", (0, 0, 2), IDENTITY)]]),
            static=True,
        )
    if odometry:
        for k in range(-5, 6):
            stamp = T0 + k * SECOND // 50
            made.transforms.odometry(ros.odometry("odom", "base_link", stamp, *pose(stamp)))
    return made


def image(ros, name="front", stamp=T0, **changes):
    return stamp, ros.image(RGB, changes.pop("encoding", "rgb8"), stamp, name, **changes)


def both(ros):
    return {"rear": image(ros, "rear", T0 + SECOND // 50), "front": image(ros, "front", T0 - SECOND // 25)}


def test_a_whole_frame(ros):
    got = assembler(ros).assemble(T0, "lidar", cloud(ros), both(ros))
    frame = got.frame
    assert (frame.stamp_ns, frame.frame_id) == (T0, "lidar")
    assert_array_equal(frame.points, points())
    assert [view.name for view in frame.views] == ["front", "rear"]  # the configuration's order
    assert got.dropped == got.warnings == got.details == {}
    assert frame.ground_truth is None and got.cloud.points is frame.points
    for view, shift in zip(frame.views, (-0.4, 0.2), strict=True):  # metres driven between sweep and image
        assert_array_equal(view.image, RGB)
        assert (view.camera.width, view.camera.height) == (64, 48)
        still = invert(make_transform((1, 0, 1), OPTICAL)) @ make_transform((0, 0, 2), IDENTITY)
        assert_allclose(view.T_camera_lidar[:3, :3], still[:3, :3], atol=1e-9)
        assert_allclose(view.T_camera_lidar[:3, 3], still[:3, 3] - (0, 0, shift), atol=1e-6)
    assert frame.views[0].stamp_ns == T0 - SECOND // 25
    assert_allclose(frame.T_odom_lidar, make_transform((0, 0, 2), IDENTITY), atol=1e-9)
    assert_allclose(frame.T_base_lidar, make_transform((0, 0, 2), IDENTITY), atol=1e-9)


def test_compressed_images(ros):
    data = cv2.imencode(".png", RGB[:, :, ::-1])[1].tobytes()
    images = {"front": (T0, ros.compressed(data, "png", T0, "front"))}
    got = assembler(ros).assemble(T0, "lidar", cloud(ros), images)
    assert_array_equal(got.frame.views[0].image, RGB)


def test_no_images_at_all(ros):
    got = assembler(ros).assemble(T0, "lidar", cloud(ros), {})
    assert got.frame.views == () and got.dropped == {}


def test_non_finite_points_stay(ros):
    p = points()
    p[3] = np.nan
    assert_array_equal(assembler(ros).assemble(T0, "lidar", cloud(ros, p), {}).frame.points, p)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 0, "row_step": 0, "data": b""}, "cloud_empty"),
        ({"height": 2}, "cloud_layout"),
        ({"data": b"123"}, "cloud_layout"),
        ({"fields": [("x", 0, 7, 1)]}, "cloud_fields"),
    ],
)
def test_a_bad_cloud_is_refused_and_the_next_one_is_not(ros, changes, reason):
    made = assembler(ros)
    with pytest.raises(MessageError) as caught:
        made.assemble(T0, "lidar", cloud(ros, **changes), both(ros))
    assert caught.value.reason == reason
    assert len(made.assemble(T0, "lidar", cloud(ros), both(ros)).frame.views) == 2


@pytest.mark.parametrize(
    ("changes", "reason", "text"),
    [
        ({"encoding": "32FC3"}, "image_encoding", "32FC3"),
        ({"step": 3, "data": bytes(9217)}, "image_layout", "step"),
        ({"width": 32, "height": 96, "step": 96}, "image_size", "64 x 48 expected"),
        ({"data": b""}, "image_layout", "data"),
    ],
)
def test_a_bad_image_leaves_out_its_camera_only(ros, changes, reason, text):
    made = assembler(ros)
    images = both(ros) | {"front": image(ros, "front", **changes)}
    got = made.assemble(T0, "lidar", cloud(ros), images)
    assert [view.name for view in got.frame.views] == ["rear"]
    assert got.dropped == {"front": reason} and text in got.details["front"]


def test_a_truncated_jpeg_leaves_out_its_camera_only(ros):
    data = cv2.imencode(".jpg", RGB)[1].tobytes()
    images = both(ros) | {"front": (T0, ros.compressed(data[: len(data) // 2], "jpeg", T0, "front"))}
    got = assembler(ros).assemble(T0, "lidar", cloud(ros), images)
    assert got.dropped == {"front": "image_truncated"} and len(got.frame.views) == 1


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_a_file_that_declares_another_size_is_not_decoded(ros, extension, monkeypatch):
    data = cv2.imencode(extension, RGB)[1].tobytes()
    jpeg = extension == ".jpg"
    size, place = (30_000, data.index(b"\xff\xc0") + 5) if jpeg else (2**31 - 1, 16)
    shape = np.array([size] * 2, ">u2" if jpeg else ">u4").tobytes()
    images = both(ros) | {
        "front": (T0, ros.compressed(data[:place] + shape + data[place + len(shape) :], "jpeg", T0, "front"))
    }
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("gigabytes are decoded"))
    got = assembler(ros).assemble(T0, "lidar", cloud(ros), images)
    assert got.dropped == {"front": "image_size"} and f"got {size} x {size}" in got.details["front"]


def test_a_camera_info_that_is_not_usable_now_and_then_is_logged_once_and_shown_while_it_holds(ros):
    made, logged = assembler(ros), []
    made.notices = Notices(logged.append)
    for k in range(50):
        made.set_camera_info("front", ros.info(frame_id="front", **({"width": 0} if k % 2 else {})))
        assert ("camera_info:front" in made.notices.as_dict()) == bool(k % 2)
    assert len(logged) == 1 and "its CameraInfo" in logged[0]


@pytest.mark.parametrize(
    "changes",
    [{"k": [0.0] * 9}, {"model": "ocam", "d": (0.1,)}, {"d": (0.1, 0.2, 0.3)}, {"width": 0}],
)
def test_a_bad_camera_info_leaves_out_its_camera_until_a_good_one(ros, changes):
    made = assembler(ros)
    made.set_camera_info("front", ros.info(frame_id="front", **changes))
    got = made.assemble(T0, "lidar", cloud(ros), both(ros))
    assert got.dropped == {"front": "camera_info"} and "CameraInfo" in got.details["front"]
    made.set_camera_info("front", ros.info(frame_id="front"))
    assert made.assemble(T0, "lidar", cloud(ros), both(ros)).dropped == {}


def test_a_camera_without_info(ros):
    got = assembler(ros, info=False).assemble(T0, "lidar", cloud(ros), both(ros))
    assert got.dropped == {"front": "camera_info", "rear": "camera_info"} and got.frame.views == ()


def test_the_same_info_again_costs_nothing_and_a_new_one_counts(ros):
    made = assembler(ros)
    before = made._intrinsics["front"]
    made.set_camera_info("front", ros.info(frame_id="front"))
    assert made._intrinsics["front"] is before
    made.set_camera_info("front", ros.info(frame_id="front", binning_x=2, binning_y=2))
    got = made.assemble(T0, "lidar", cloud(ros), both(ros))
    assert got.dropped == {"front": "image_size"} and "32 x 24 expected" in got.details["front"]


def test_tf_missing(ros):
    made = assembler(ros, tf=False)
    got = made.assemble(T0, "lidar", cloud(ros), both(ros))
    assert got.dropped == {"front": "transform_missing", "rear": "transform_missing"}
    assert got.frame.T_odom_lidar is None
    assert made.awaited(T0, "lidar", both(ros)) == {"transform_missing of lidar"}


def test_tf_late(ros):
    made = assembler(ros)
    far, farther = T0 + SECOND, T0 + SECOND + SECOND // 50
    images = {"front": image(ros, "front", farther)}
    assert not made.awaited(T0, "lidar", both(ros))
    assert made.awaited(far, "lidar", {}) == {"transform_late of lidar"}
    assert made.awaited(T0, "lidar", images) == {"transform_late of front"}
    got = made.assemble(far, "lidar", cloud(ros), images)
    assert got.warnings == {"front": "no_motion"} and "after the last" in got.details["front"]
    for k in range(6, 60):
        stamp = T0 + k * SECOND // 50
        made.transforms.odometry(ros.odometry("odom", "base_link", stamp, *pose(stamp)))
    assert not made.awaited(far, "lidar", images)
    assert made.assemble(far, "lidar", cloud(ros), images).warnings == {}


def test_a_pose_that_is_extrapolated_is_told(ros):
    made = assembler(ros)  # poses until 0.1 s after T0
    late = T0 + SECOND * 15 // 100
    got = made.assemble(late, "lidar", cloud(ros), {"front": image(ros, "front", T0)})
    assert got.warnings == {"front": "pose_extrapolated", "lidar": "pose_extrapolated"}
    assert "0.050 s" in got.details["front"] and "0.050 s" in got.details["lidar"]
    assert_allclose(got.frame.T_odom_lidar[:3, 3], (1.5, 0, 2), atol=1e-6)
    made.conclude()
    (notice,) = made.notices
    assert "the poses of 1 of 1 sweeps or their images are extrapolated, by 50 ms (median)" in notice


def test_equal_stamps_need_no_odometry(ros):
    made = assembler(ros, odometry=False)
    got = made.assemble(T0, "lidar", cloud(ros), {"front": image(ros, "front", T0)})
    assert got.warnings == {} and len(got.frame.views) == 1
    made.conclude()
    assert not made.notices


def test_moving_tf_only_as_nuscenes_bags_have(ros):
    """No /tf_static: the sensors' places come over /tf with everything else."""
    made = assembler(ros, tf=False, odometry=False, **{"transforms.odometry_frame": "map"})
    for stamp in (T0 - SECOND // 4, T0 + SECOND // 4):
        mounts = [("base_link", name, stamp, (1, 0, 1), OPTICAL) for name in CAMERAS]
        lidar = ("base_link", "lidar", stamp, (0, 0, 2), IDENTITY)
        made.transforms.tf(ros.tf(*mounts, lidar, ("map", "base_link", stamp, *pose(stamp))), static=False)
    got = made.assemble(T0, "lidar", cloud(ros), both(ros))
    expected = assembler(ros).assemble(T0, "lidar", cloud(ros), both(ros))
    for view, other in zip(got.frame.views, expected.frame.views, strict=True):
        assert_allclose(view.T_camera_lidar, other.T_camera_lidar, atol=1e-6)


def test_without_odometry_the_static_place_is_used_and_said_so(ros):
    got = assembler(ros, odometry=False).assemble(T0, "lidar", cloud(ros), both(ros))
    assert got.warnings == {"front": "no_motion", "rear": "no_motion"} and len(got.frame.views) == 2
    still = invert(make_transform((1, 0, 1), OPTICAL)) @ make_transform((0, 0, 2), IDENTITY)
    assert_allclose(got.frame.views[0].T_camera_lidar, still, atol=1e-9)


def test_a_calibration_file_stands_in_for_tf_and_info(ros):
    made = assembler(ros, info=False, tf=False)
    K = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])
    cameras = {
        name: CameraCalibration(name, make_transform((1, 0, 1), OPTICAL), CameraModel(64, 48, K)) for name in CAMERAS
    }
    made.set_calibration(Calibration("lidar", "base_link", "odom", make_transform((0, 0, 2), IDENTITY), cameras))
    got = made.assemble(T0, "lidar", cloud(ros), both(ros))
    expected = assembler(ros).assemble(T0, "lidar", cloud(ros), both(ros))
    assert got.dropped == got.warnings == {}
    for view, other in zip(got.frame.views, expected.frame.views, strict=True):
        assert_allclose(view.T_camera_lidar, other.T_camera_lidar, atol=1e-9)
        assert_array_equal(view.camera.K, other.camera.K)


def test_frame_ids_may_be_configured(ros):
    made = assembler(ros, **{"cameras.front.frame_id": "/front"})
    images = {"front": image(ros, "a wrong name")}
    assert made.assemble(T0, "lidar", cloud(ros), images).dropped == {}
    images = {"rear": image(ros, "a wrong name")}
    got = made.assemble(T0, "lidar", cloud(ros), images)
    assert got.dropped == {"rear": "transform_missing"} and "a wrong name" in got.details["rear"]
    images = {"rear": image(ros, "")}  # no name at all: the CameraInfo's
    assert made.assemble(T0, "lidar", cloud(ros), images).dropped == {}


def truth(ros, class_id):
    count = len(class_id)
    data = encode_labels(points(count), np.zeros(count, np.uint8), 1.0, np.zeros((256, 3), np.uint8))
    if class_id.dtype != np.uint8:
        p = points(count)
        data = encode_cloud({"x": p[:, 0], "y": p[:, 1], "z": p[:, 2], "class_id": class_id})
        return ros.cloud(data)
    return ros.cloud(encode_labels(points(count), class_id, 1.0, np.zeros((256, 3), np.uint8)))


def test_ground_truth_goes_through_the_mapping(ros):
    raw = np.array([17, 300, 5, 0, 65535] * 4, np.uint16)
    made = assembler(ros, **{"ground_truth.mapping": "raw"})
    got = made.assemble(T0, "lidar", cloud(ros), {}, truth(ros, raw))
    assert_array_equal(got.frame.ground_truth, [2, 3, IGNORE, IGNORE, IGNORE] * 4)
    assert got.frame.ground_truth.dtype == np.uint8
    raw = np.array([17, -1, 10**6, 300, 2] * 4, np.int32)
    got = made.assemble(T0, "lidar", cloud(ros), {}, truth(ros, raw))
    assert_array_equal(got.frame.ground_truth, [2, IGNORE, IGNORE, 3, IGNORE] * 4)
    ids = np.array([0, 7, 6, 255] * 5, np.uint8)
    got = assembler(ros).assemble(T0, "lidar", cloud(ros), {}, truth(ros, ids))
    assert_array_equal(got.frame.ground_truth, [0, 7, 6, IGNORE] * 5)


def test_ground_truth_in_foreign_ids_is_an_error_that_names_topic_and_ids(ros):
    ids = np.array([0, 7, 8, 255] * 5, np.uint8)
    with pytest.raises(TaxonomyError, match=r"^/ground_truth/labels: class ids 8 are .*ground_truth\.topic to ''"):
        assembler(ros).assemble(T0, "lidar", cloud(ros), {}, truth(ros, ids))


def test_ground_truth_that_does_not_fit_is_left_out_and_said_so(ros):
    made = assembler(ros)
    got = made.assemble(T0, "lidar", cloud(ros), both(ros), truth(ros, np.zeros(19, np.uint8)))
    assert got.frame.ground_truth is None and got.warnings == {"ground_truth": "ground_truth_size"}
    assert len(got.frame.views) == 2
    assert list(made.notices) == [
        "/ground_truth/labels: labels are left unread: label cloud: 20 points expected, got 19"
    ]
    got = made.assemble(T0, "lidar", cloud(ros), {}, cloud(ros))
    assert got.warnings == {"ground_truth": "cloud_fields"}


def test_images_whose_12_bits_are_the_lower_of_16_are_said_to_be_dark(ros):
    made = assembler(ros)
    grey = np.full((48, 64), 4000, np.uint16)
    for image, dark in ((grey, True), (grey << 4, False)):
        made.assemble(
            T0, "lidar", cloud(ros), both(ros) | {"front": (T0, ros.image(image, "mono16", frame_id="front"))}
        )
        assert [name for name in made.notices.as_dict() if name.startswith("camera_16_bits")] == dark * [
            "camera_16_bits:front"
        ]


def test_instances(ros):
    ids = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
    made = assembler(ros)
    got = made.assemble(T0, "lidar", cloud(ros), both(ros), None, {"front": ros.image(ids, "mono16")})
    assert_array_equal(got.frame.views[0].instances, ids)
    assert got.frame.views[1].instances is None
    for bad in (ros.image(ids[:10], "mono16"), ros.image(RGB, "rgb8")):
        got = made.assemble(T0, "lidar", cloud(ros), both(ros), None, {"front": bad})
        assert got.warnings == {"front": "instances"} and got.frame.views[0].instances is None


def test_a_real_keyframe_projects_where_it_should(real_data, ros):
    """All six cameras of a nuScenes keyframe through messages: matrices to 1e-6, and boxes' points on their boxes."""
    root = real_data / "nuscenes_keyframe"
    tables = {
        name: {row["token"]: row for row in json.loads((root / f"v1.0-mini/{name}.json").read_text())}
        for name in ("sample_data", "ego_pose", "calibrated_sensor", "sensor")
    }
    rows = {}
    for row in tables["sample_data"].values():
        mount = tables["calibrated_sensor"][row["calibrated_sensor_token"]]
        rows[tables["sensor"][mount["sensor_token"]]["channel"]] = (
            row,
            mount,
            tables["ego_pose"][row["ego_pose_token"]],
        )
    cameras = sorted(name for name in rows if name.startswith("CAM"))
    made = FrameAssembler(
        Config.from_flat(
            {f"cameras.{name}.image": f"/{name}" for name in cameras} | {"transforms.odometry_frame": "map"}
        ),
        town(),
    )
    expected, images = {}, {}

    def matrix(record):
        w, x, y, z = record["rotation"]
        return make_transform(record["translation"], (x, y, z, w))

    def entry(parent, child, stamp, record):
        w, x, y, z = record["rotation"]
        return parent, child, stamp, record["translation"], (x, y, z, w)

    lidar_row, lidar_mount, lidar_ego = rows["LIDAR_TOP"]
    for name, (row, mount, ego) in rows.items():
        stamp = row["timestamp"] * 1000
        made.transforms.tf(ros.tf(entry("map", "base_link", stamp, ego)), static=False)
        made.transforms.tf(ros.tf(entry("base_link", name, 0, mount)), static=True)
        if name in cameras:
            k = np.array(mount["camera_intrinsic"]).reshape(-1).tolist()
            made.set_camera_info(name, ros.info(row["width"], row["height"], k, model="", frame_id=name))
            images[name] = (stamp, ros.compressed((root / row["filename"]).read_bytes(), "jpeg", stamp, name))
            expected[name] = invert(matrix(mount)) @ invert(matrix(ego)) @ matrix(lidar_ego) @ matrix(lidar_mount)
    p = np.fromfile(root / lidar_row["filename"], np.float32).reshape(-1, 5)[:, :3]
    got = made.assemble(lidar_row["timestamp"] * 1000, "LIDAR_TOP", cloud(ros, p), images)
    assert got.dropped == got.warnings == {}
    assert [view.name for view in got.frame.views] == cameras
    for view in got.frame.views:
        assert np.abs(view.T_camera_lidar - expected[view.name]).max() < 1e-6
    seen = assign_cameras(project_all(got.frame.points, got.frame.views), len(got.frame.points)).camera
    assert len(seen) == 34_688 and 0.4 < (seen >= 0).mean() < 0.9
    assert set(seen) == {-1, 0, 1, 2, 3, 4, 5}


def test_the_strength_of_the_returns_comes_with_the_frame(ros):
    p = points()
    strength = np.arange(20, dtype=np.float32)
    fields = {"x": p[:, 0], "y": p[:, 1], "z": p[:, 2], "intensity": strength}
    made = assembler(ros)
    assert_array_equal(made.assemble(T0, "lidar", ros.cloud(encode_cloud(fields), T0), {}).frame.intensity, strength)
    assert made.assemble(T0, "lidar", cloud(ros), {}).frame.intensity is None


def skewed(ros, still, **fields):
    """The cloud that a LiDAR at 10 m/s measures of points that stand at ``still`` in its frame at the stamp, over 0.1 s
    before it; and what the message has."""
    seconds = np.linspace(-0.1, 0, len(still))
    seen = (still - np.outer(10 * seconds, (1, 0, 0))).astype(np.float32)
    columns = {"x": seen[:, 0], "y": seen[:, 1], "z": seen[:, 2], "time": seconds.astype(np.float32)}
    return ros.cloud(encode_cloud(columns | fields), T0), seen


def test_motion_within_a_sweep_is_undone_where_points_carry_times(ros):
    still = np.random.default_rng(2).uniform((5, -4, -2), (30, 4, 2), (60, 3)).astype(np.float32)
    msg, seen = skewed(ros, still)
    classes = (np.arange(60) % 3).astype(np.uint8)
    labels = ros.cloud(encode_labels(seen, classes, 1.0, np.zeros((256, 3), np.uint8)), T0)
    images = {"front": image(ros, stamp=T0 + SECOND // 20)}
    made = assembler(ros)
    frame = made.assemble(T0, "lidar", msg, images, labels).frame
    assert_allclose(frame.points, still, atol=1e-3)
    assert_array_equal(frame.published_points, seen)
    assert_array_equal(frame.ground_truth, classes)  # row by row, wherever the points are
    assert len(made.notices) == 0
    # The image is taken half a metre further on: its pixels are those of the points that stand there.
    later = still - (0.5, 0, 0)
    (view,) = frame.views
    T_front_lidar = invert(make_transform((1, 0, 1), OPTICAL)) @ make_transform((0, 0, 2), IDENTITY)
    expected = view.camera.project((later @ T_front_lidar[:3, :3].T + T_front_lidar[:3, 3]).astype(np.float32))
    (found,) = project_all(frame.points, frame.views)
    assert_array_equal(found.valid, expected[2])
    assert found.valid.sum() > 10
    assert_allclose(found.uv[found.valid], expected[0][found.valid], atol=0.05)


def test_motion_within_a_sweep_is_left_where_it_was_undone_before(ros):
    msg, seen = skewed(ros, points(60))
    frame = assembler(ros, **{"lidar.deskew": False}).assemble(T0, "lidar", msg, {}).frame
    assert_array_equal(frame.points, seen)
    assert frame.message_points is None


def test_that_motion_within_sweeps_is_not_known_is_said(ros):
    msg, seen = skewed(ros, points(60))
    made = assembler(ros, odometry=False)
    for _ in range(20):
        assert_array_equal(made.assemble(T0, "lidar", msg, {}).frame.points, seen)
    assert "lidar.deskew" in made.notices.as_dict()["sweep_motion"]
    made = assembler(ros)
    p = points(60)
    other = np.linspace(0, 1700, 60).astype(np.float32)
    unclear = ros.cloud(encode_cloud({"x": p[:, 0], "y": p[:, 1], "z": p[:, 2], "time": other}), T0)
    assert_array_equal(made.assemble(T0, "lidar", unclear, {}).frame.points, p)
    made.conclude()
    assert "field time" in made.notices.as_dict()["sweep_motion"]


def test_a_vehicle_frame_that_is_not_level_is_said_with_its_angle(ros):
    made = assembler(ros, odometry=False)
    nose_down = (0, np.sin(np.radians(25) / 2), 0, np.cos(np.radians(25) / 2))
    for k in range(TILTED_SWEEPS):
        assert len(made.notices) == 0
        stamp = T0 + k * SECOND // 10
        made.transforms.odometry(ros.odometry("odom", "base_link", stamp, (k, 0, 0), nose_down))
        assert made.assemble(stamp, "lidar", cloud(ros), {}).frame is not None
    (text,) = made.notices
    assert text.startswith("frame base_link: level expected") and "it leans by 25 degrees in odom" in text


def test_a_registered_cloud_is_not_moved_once_more(ros):
    """Whoever brought it to a map's frame has undone the motion."""
    msg, seen = skewed(ros, points(60))
    msg.header.frame_id = "odom"
    frame = assembler(ros).assemble(T0, "odom", msg, {}).frame
    assert_allclose(frame.points, seen, atol=1e-4)  # the vehicle is at the origin at T0
