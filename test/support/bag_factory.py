"""Small recordings for the tests: a drive as arrays, and a data set in nuScenes' layout."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from sam_adapt_ros.bags import BagWriter
from sam_adapt_ros.config import Config
from sam_adapt_ros.datasets.nuscenes_categories import NUSCENES_LIDARSEG
from sam_adapt_ros.geometry import CameraModel
from sam_adapt_ros.messages import encode_cloud

SECOND = 1_000_000_000
START = 1_600_000_000 * SECOND
WIDTH, HEIGHT = 64, 48
K = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])
OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # camera axes in the vehicle's
CONFIG = {
    "taxonomy": "nuscenes6",
    "cameras.CAM_FRONT.image": "/CAM_FRONT/image_rect_compressed",
    "cameras.CAM_FRONT.info": "/CAM_FRONT/camera_info",
    "cameras.CAM_BACK.image": "/CAM_BACK/image_rect_compressed",
    "cameras.CAM_BACK.info": "/CAM_BACK/camera_info",
    "ground_truth.mapping": "nuscenes_lidarseg",
}


def config(**overrides: object) -> Config:
    return Config.from_flat({**CONFIG, **{name.replace("__", "."): value for name, value in overrides.items()}})


def transform(translation, rotvec=(0, 0, 0)) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = Rotation.from_rotvec(rotvec).as_matrix(), translation
    return T


T_BASE_LIDAR = transform((0.9, 0.0, 1.8), (0.01, -0.02, -1.5))
T_BASE_CAMERA = {
    "CAM_FRONT": transform((1.7, 0.0, 1.5)) @ np.block([[OPTICAL, np.zeros((3, 1))], [np.zeros((1, 3)), 1.0]]),
    "CAM_BACK": transform((0.0, 0.1, 1.5), (0, 0, np.pi))
    @ np.block([[OPTICAL, np.zeros((3, 1))], [np.zeros((1, 3)), 1.0]]),
}


def pose(stamp_ns: int) -> np.ndarray:
    """``T_odom_base``: 10 m/s and 0.2 rad/s, constant, so that linear and spherical interpolation are nearly exact."""
    t = (stamp_ns - START) / SECOND
    return transform((10 * t, 0.5 * t, 0), (0, 0, 0.2 * t))


def expected_T_camera_lidar(camera: str, image_ns: int, sweep_ns: int) -> np.ndarray:
    T_odom_camera = pose(image_ns) @ T_BASE_CAMERA[camera]
    return np.linalg.inv(T_odom_camera) @ pose(sweep_ns) @ T_BASE_LIDAR


def jpeg(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    image = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()


@dataclass
class Drive:
    """Sweeps at 10 Hz; each camera's images a fixed time before the sweep.

    camera_clock_ns: what the clocks of cameras show less than the others', in the stamps of their images.
    """

    sweeps: int = 5
    points: int = 50
    camera_lag_ns: dict[str, int] = field(default_factory=lambda: {"CAM_FRONT": 30_000_000, "CAM_BACK": 10_000_000})
    camera_clock_ns: dict[str, int] = field(default_factory=dict)

    def sweep_ns(self, index: int) -> int:
        return START + index * SECOND // 10

    def cloud(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).uniform(-20, 20, (self.points, 3)).astype(np.float32)

    def class_id(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 32, self.points).astype(np.uint8)

    def write(
        self,
        writer: BagWriter,
        *,
        tf: bool = True,
        info: bool = True,
        odometry: bool = True,
        labels: bool = True,
        images: bool = True,
        moving: bool = True,
    ) -> None:
        """moving: whether TF tells how the vehicle moves."""
        statics = [("base_link", "LIDAR_TOP", T_BASE_LIDAR)]
        statics += [("base_link", name, T) for name, T in T_BASE_CAMERA.items()]
        if tf:
            writer.write_tf_static(self.sweep_ns(0), statics)
        for index in range(self.sweeps):
            sweep_ns = self.sweep_ns(index)
            stamps = {sweep_ns, *(sweep_ns - lag for lag in self.camera_lag_ns.values())}
            for stamp in sorted(stamps):
                if tf and moving:
                    writer.write_tf(stamp, [("odom", "base_link", pose(stamp))])
                if odometry:
                    writer.write_odometry("/odom", stamp, "odom", "base_link", pose(stamp))
            for name, lag in sorted(self.camera_lag_ns.items(), key=lambda item: -item[1]):
                if info:
                    writer.write_camera_info(
                        f"/{name}/camera_info", sweep_ns - lag, name, CameraModel(WIDTH, HEIGHT, K)
                    )
                if images:
                    header = writer.header(sweep_ns - lag - self.camera_clock_ns.get(name, 0), name)
                    image = writer.types["sensor_msgs/msg/CompressedImage"](
                        header, "jpeg", np.frombuffer(jpeg(index), np.uint8)
                    )
                    writer.write(f"/{name}/image_rect_compressed", image, sweep_ns - lag)
            self.write_sweep(writer, index)
            if labels:
                ones = np.ones(self.points, np.float32)
                colors = np.zeros((256, 3), np.uint8)
                writer.write_labels(
                    "/ground_truth/labels", sweep_ns, "LIDAR_TOP", self.cloud(index), self.class_id(index), ones, colors
                )

    def write_sweep(self, writer: BagWriter, index: int, stamp_ns: int | None = None) -> None:
        points = self.cloud(index)
        data = encode_cloud({name: points[:, axis] for axis, name in enumerate("xyz")})
        writer.write_cloud("/LIDAR_TOP", self.sweep_ns(index) if stamp_ns is None else stamp_ns, "LIDAR_TOP", data)


def write_nuscenes(
    root: Path, scenes: int = 2, samples: int = 3, between: int = 2, labels: bool = True, points: int = 40
) -> None:
    """A data set in nuScenes' layout: two cameras, a LiDAR and a radar; ``between`` sweeps between keyframes."""
    tables: dict[str, list[dict]] = {
        name: []
        for name in "scene sample sample_data ego_pose calibrated_sensor sensor log lidarseg category".split()  # noqa: SIM905
    }
    tables["category"] = [{"token": n, "name": n, "index": i} for i, n in enumerate(NUSCENES_LIDARSEG)]
    sensors = {"LIDAR_TOP": "lidar", "CAM_FRONT": "camera", "CAM_BACK": "camera", "RADAR_FRONT": "radar"}
    for channel, modality in sensors.items():
        T = T_BASE_CAMERA.get(channel, T_BASE_LIDAR)
        tables["sensor"].append({"token": f"s-{channel}", "channel": channel, "modality": modality})
        tables["calibrated_sensor"].append(
            {
                "token": f"c-{channel}",
                "sensor_token": f"s-{channel}",
                "camera_intrinsic": K.tolist() if modality == "camera" else [],
                **_pose_fields(T),
            }
        )
    lags = {"LIDAR_TOP": 0, "CAM_FRONT": 30_000, "CAM_BACK": 10_000, "RADAR_FRONT": 5_000}
    for scene in range(scenes):
        tables["scene"].append({"token": f"scene{scene}", "name": f"scene-{scene:04d}", "log_token": "log"})
        for step in range(samples * (between + 1)):
            key = step % (between + 1) == 0
            sample = f"scene{scene}-{step // (between + 1)}"
            folder = "samples" if key else "sweeps"
            for channel, lag in lags.items():
                stamp_us = START // 1000 + scene * 100_000_000 + step * 100_000 - lag
                token = f"{channel}-{stamp_us}"
                suffix = ".jpg" if channel.startswith("CAM") else ".bin"
                file = root / folder / channel / f"{token}{suffix}"
                file.parent.mkdir(parents=True, exist_ok=True)
                cloud = np.random.default_rng(step).uniform(-20, 20, (points, 5)).astype(np.float32)
                cloud[:, 4] = np.arange(points) % 32
                file.write_bytes(jpeg(step) if suffix == ".jpg" else cloud.tobytes())
                tables["sample_data"].append(
                    {
                        "token": token,
                        "sample_token": sample,
                        "ego_pose_token": f"p-{token}",
                        "calibrated_sensor_token": f"c-{channel}",
                        "filename": str(file.relative_to(root)),
                        "timestamp": stamp_us,
                        "is_key_frame": key,
                        "width": WIDTH if suffix == ".jpg" else 0,
                        "height": HEIGHT if suffix == ".jpg" else 0,
                    }
                )
                T = transform((1000.0, 2000.0, 0.0)) @ pose(stamp_us * 1000 - scene * 100 * SECOND)
                tables["ego_pose"].append({"token": f"p-{token}", "timestamp": stamp_us, **_pose_fields(T)})
                if labels and key and channel == "LIDAR_TOP":
                    label_file = root / "lidarseg" / "v1.0-mini" / f"{token}_lidarseg.bin"
                    label_file.parent.mkdir(parents=True, exist_ok=True)
                    label_file.write_bytes((np.arange(points) % 32).astype(np.uint8).tobytes())
                    tables["lidarseg"].append(
                        {"token": token, "sample_data_token": token, "filename": str(label_file.relative_to(root))}
                    )
            if key:
                tables["sample"].append({"token": sample, "scene_token": f"scene{scene}"})
    folder = root / "v1.0-mini"
    folder.mkdir(parents=True)
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    if not labels:
        (folder / "lidarseg.json").unlink()


def _pose_fields(T: np.ndarray) -> dict[str, list[float]]:
    x, y, z, w = Rotation.from_matrix(T[:3, :3]).as_quat()
    return {"translation": T[:3, 3].tolist(), "rotation": [w, x, y, z]}
