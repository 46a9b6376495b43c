"""CPU time of decoding, encoding, projection and synchronization: one nuScenes sweep and six 1600 x 900 cameras."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from sam_adapt_ros.benchmarks import Figure, real_data
from sam_adapt_ros.benchmarks.timing import cpu_milliseconds
from sam_adapt_ros.config import SyncConfig
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.geometry import (
    CameraModel,
    Distortion,
    Projection,
    assign_cameras,
    make_transform,
    project,
    voxelize,
)
from sam_adapt_ros.messages import Match, TimeSynchronizer, decode_image, encode_cloud, encode_labels, read_points

POINTS = 34_688
_FORWARD = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # LiDAR axes (x forward) -> optical axes


def run(quick: bool = False) -> list[Figure]:
    """Medians over 200 calls on one core (20 when quick)."""
    repeats = 20 if quick else 200
    points, note = _sweep()
    cloud = _cloud(points)
    rng = np.random.default_rng(0)
    class_id = rng.integers(0, 10, POINTS).astype(np.uint8)
    probability = rng.random(POINTS).astype(np.float32)
    colors = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    pinholes, lenses = _views(()), _views((-0.3, 0.1, 0.001, 0.001, -0.01))
    image = SimpleNamespace(
        width=1600, height=900, encoding="bgr8", step=4800, is_bigendian=0, data=bytes(1600 * 900 * 3)
    )

    def project_six(views: list[CameraView]) -> list[Projection]:
        return [project(points, view) for view in views]

    measured: list[tuple[str, str, Callable[[], object]]] = [
        ("cloud decode", "<= 1 ms", lambda: read_points(cloud)),
        ("label cloud encode", "<= 3 ms", lambda: encode_labels(points, class_id, probability, colors)),
        ("projection into six cameras", "<= 6 ms", lambda: project_six(pinholes)),
        ("projection into six distorted cameras", "", lambda: project_six(lenses)),
        ("assignment to six cameras", "<= 6 ms", lambda: assign_cameras(project_six(pinholes), len(points))),
        ("voxelization at 5 cm", "", lambda: voxelize(points, 0.05)),
        ("image decode, bgr8 1600x900", "", lambda: decode_image(image)),
    ]
    figures = [Figure(name, cpu_milliseconds(call, repeats), "ms", target, note) for name, target, call in measured]
    return [*figures, Figure("synchronizer, one sweep with six images", _synchronizer_ms(repeats), "ms")]


def _sweep() -> tuple[np.ndarray, str]:
    folder = real_data()
    if folder is None:
        points = np.random.default_rng(0).uniform((-60, -60, -3), (60, 60, 8), (POINTS, 3))
        return points.astype(np.float32), "synthetic sweep"
    file = next((folder / "nuscenes_keyframe/samples/LIDAR_TOP").iterdir())
    return np.ascontiguousarray(np.fromfile(file, np.float32).reshape(-1, 5)[:, :3]), "nuScenes sweep"


def _cloud(points: np.ndarray) -> SimpleNamespace:
    """The points as a PointCloud2 with the fields of nuScenes' clouds."""
    x, y, z = points.T
    zeros = np.zeros(len(points), np.float32)
    data = encode_cloud({"x": x, "y": y, "z": z, "intensity": zeros, "ring": zeros.astype(np.uint16)})
    names = ("name", "offset", "datatype", "count")
    return SimpleNamespace(
        width=data.width,
        height=1,
        fields=[SimpleNamespace(**dict(zip(names, spec, strict=True))) for spec in data.fields],
        point_step=data.point_step,
        row_step=len(data.data),
        is_bigendian=False,
        data=data.data,
    )


def _views(D: tuple[float, ...]) -> list[CameraView]:
    """Six cameras around the vehicle."""
    K = np.array([[1266.4, 0, 816.3], [0, 1266.4, 491.5], [0, 0, 1]])
    camera = CameraModel(1600, 900, K, Distortion.PLUMB_BOB if D else Distortion.NONE, D)
    views = []
    for k in range(6):
        T_camera_lidar = make_transform((0, 0, 0), (0, 0, np.sin(-k * np.pi / 6), np.cos(-k * np.pi / 6)))
        T_camera_lidar[:3, :3] = _FORWARD @ T_camera_lidar[:3, :3]
        views.append(CameraView(str(k), 0, np.empty((900, 1600, 3), np.uint8), camera, T_camera_lidar))
    return views


def _synchronizer_ms(sweeps: int) -> float:
    cameras = dict.fromkeys("abcdef", 0.0)
    matches: list[Match] = []
    synchronizer = TimeSynchronizer(cameras, SyncConfig(), matches.append, lambda reason, stamp: None)
    start = time.perf_counter()
    for k in range(1, sweeps + 1):
        stamp = k * 50_000_000
        synchronizer.add_sweep(stamp, None, stamp)
        for camera in cameras:
            synchronizer.add_image(camera, stamp, None, stamp)
    elapsed = time.perf_counter() - start
    if len(matches) != sweeps:
        raise AssertionError(f"{len(matches)} of {sweeps} sweeps matched")
    return elapsed / sweeps * 1e3
