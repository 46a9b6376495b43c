"""Small frames and their summaries, for tests of the frame buffer."""

import numpy as np

from sam_adapt_ros.adaptation import FrameSummary
from sam_adapt_ros.config import BufferConfig
from sam_adapt_ros.frame import CameraView, Frame
from sam_adapt_ros.geometry.camera import CameraModel, Distortion
from sam_adapt_ros.geometry.transforms import make_transform

CLASSES = 4


def make_frame(seed=0, position=(0.0, 0.0), points=50, height=24, width=32, odometry=True, stamp_ns=None, views=1):
    rng = np.random.default_rng(seed)
    T_odom_lidar = np.eye(4)
    T_odom_lidar[:2, 3] = position
    T_base_lidar = make_transform((0.9, 0.1, 1.8), (0.1, 0.2, 0.0, 1.0))  # tilted
    # Smooth, as images are: noise is the one thing that JPEG does badly.
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows * 5, columns * 4, (rows + columns) * 2 + seed % 100], -1).astype(np.uint8)
    K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
    camera = CameraModel(width, height, K, Distortion.PLUMB_BOB, (0.1, -0.05, 0.001, 0.002, 0.0))
    instances = rng.integers(0, 1000, (height, width)).astype(np.uint16)
    return Frame(
        stamp_ns=seed * 100_000_000 if stamp_ns is None else stamp_ns,
        frame_id="LIDAR_TOP",
        points=rng.normal(0, 20, (points, 3)).astype(np.float32),
        views=tuple(CameraView(f"CAM_{i}", 7, image, camera, rng.normal(size=(4, 4)), instances) for i in range(views)),
        ground_truth=rng.integers(0, CLASSES, points).astype(np.uint8),
        T_odom_lidar=T_odom_lidar if odometry else None,
        T_base_lidar=T_base_lidar,
    )


def make_summary(rng, classes=CLASSES):
    histogram = rng.dirichlet(np.ones(classes))
    return FrameSummary(histogram, np.concatenate([np.sqrt(histogram / 2), rng.random(8) / 4]))


def drive(buffer, count, start=0, step=2.0, **options):
    """Along x, ``step`` metres a frame; what ``add`` said."""
    said = []
    for i in range(start, start + count):
        summary = make_summary(np.random.default_rng(i))
        said.append(buffer.add(make_frame(i, (i * step, 0.0), **options), summary))
    return said


def positions(sequence):
    return np.array([frame.T_odom_lidar[:2, 3] for frame in sequence]).reshape(-1, 2)


def small(**changes):
    return BufferConfig(**{"max_frames": 20, "split_block": 10.0, "split_gap": 2.0, **changes})


def flat_summary(histogram=(1, 0, 0, 0)):
    histogram = np.array(histogram, float)
    return FrameSummary(histogram, np.concatenate([np.sqrt(histogram / 2), np.zeros(8)]))


def assert_same_frame(a, b, image_tolerance=0):
    assert (a.stamp_ns, a.frame_id) == (b.stamp_ns, b.frame_id)
    np.testing.assert_array_equal(a.points, b.points)
    for name in ("ground_truth", "T_odom_lidar", "T_base_lidar"):
        ours, theirs = getattr(a, name), getattr(b, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype
    assert len(a.views) == len(b.views)
    for ours, theirs in zip(a.views, b.views, strict=True):
        assert (ours.name, ours.stamp_ns) == (theirs.name, theirs.stamp_ns)
        assert ours.image.dtype == theirs.image.dtype == np.uint8
        assert np.abs(ours.image.astype(int) - theirs.image).max() <= image_tolerance
        np.testing.assert_array_equal(ours.T_camera_lidar, theirs.T_camera_lidar)
        np.testing.assert_array_equal(ours.camera.K, theirs.camera.K)
        assert (ours.camera.D, ours.camera.distortion) == (theirs.camera.D, theirs.camera.distortion)
        np.testing.assert_array_equal(ours.instances, theirs.instances)
