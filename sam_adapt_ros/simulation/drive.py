"""A drive through the simulated town, as frames in memory or as a rosbag2.

All beams of a sweep are measured at its stamp, without motion distortion. The image has its own stamp, a few
milliseconds later, and shows the world and the vehicle's pose at that time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sam_adapt_ros.frame import CameraView, Frame
from sam_adapt_ros.geometry import invert
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.simulation.domains import Domain
from sam_adapt_ros.simulation.scene import Scene
from sam_adapt_ros.simulation.sensors import Camera, Lidar, Sweep, rotation
from sam_adapt_ros.simulation.shading import Shader
from sam_adapt_ros.simulation.trace import trace
from sam_adapt_ros.taxonomy import Taxonomy

if TYPE_CHECKING:
    from sam_adapt_ros.bags import BagWriter, Storage

PERIOD = 0.2
"""Default time between frames, seconds."""
LIDAR, CAMERA, BASE, ODOMETRY = "LIDAR_TOP", "CAM_FRONT", "base_link", "odom"
_START_NS = 1_700_000_000_000_000_000
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Recording:
    """One frame as the sensors publish it. jpeg: (B,) bytes of the encoded image. instances: (H, W) uint16, 0 = sky.

    T_odom_base, T_odom_base_image: (4, 4) poses of the vehicle at the sweep's and at the image's stamp.
    """

    stamp_ns: int
    image_stamp_ns: int
    sweep: Sweep
    jpeg: NDArray[np.uint8]
    instances: NDArray[np.uint16]
    T_odom_base: NDArray[np.float64]
    T_odom_base_image: NDArray[np.float64]


class Drive:
    """A drive of ``frames`` frames, ``period`` seconds apart. The same arguments always give the same frames.

    domain: its name, or a domain of one's own. Raises ConfigError for an unknown name.
    """

    def __init__(self, domain: str | Domain, seed: int, frames: int, period: float = PERIOD) -> None:
        if frames < 1 or period <= 0:
            raise ValueError(
                f"frames, period: at least one frame and a positive period expected, got {frames}, {period}"
            )
        self.domain = domain if isinstance(domain, Domain) else Domain.parse(domain, seed)
        self.seed, self.frames, self.period = seed, frames, period
        self.scene = Scene(self.domain, seed, frames * period + 1.0)
        self.camera, self.lidar = (
            Camera(self.domain.camera),
            Lidar(self.domain.lidar, self.domain.looks.grass, self.domain.rain),
        )
        error, late = self.domain.miscalibration, np.random.default_rng([seed, 29])
        self.T_base_camera = self.camera.T_base_camera @ _random_motion(error.rotation, error.shift, late)
        """What the calibration says; the camera is at ``camera.T_base_camera``."""
        self._exposure = float(np.exp(late.normal(0, self.domain.camera.exposure_spread)))
        self._sway = np.random.default_rng([seed, 13]).uniform(0, 2 * np.pi, 4)

    @cached_property
    def _shader(self) -> Shader:
        return Shader(self.scene, self.seed)

    def __len__(self) -> int:
        return self.frames

    def T_odom_base(self, seconds: float) -> NDArray[np.float64]:
        """(4, 4) pose of the vehicle, with slight pitch and roll of its suspension."""
        x, y, heading = self.scene.ego(seconds)
        nearby = self.scene.ego(seconds + 0.05), self.scene.ego(seconds - 0.05)
        heading = float(np.arctan2(nearby[0][1] - nearby[1][1], nearby[0][0] - nearby[1][0]))
        a = self._sway
        pitch = 0.006 * np.sin(2.3 * seconds + a[0]) + 0.003 * np.sin(5.9 * seconds + a[1])
        roll = 0.006 * np.sin(1.7 * seconds + a[2]) + 0.003 * np.sin(4.7 * seconds + a[3])
        T = np.eye(4)
        T[:3, :3] = rotation(heading, pitch, roll)
        T[:3, 3] = x, y, 0.0
        return T

    def stamps(self, index: int) -> tuple[int, int]:
        """Stamps of a frame's sweep and of its image, nanoseconds; the image's delay varies by some milliseconds."""
        stamp = _START_NS + round(index * self.period * 1e9)
        jitter = float(np.random.default_rng([self.seed, 17, index]).uniform(-0.006, 0.006))
        return stamp, stamp + round((self.domain.camera.delay + jitter) * 1e9)

    def record(self, index: int) -> Recording:
        """Renders one frame; frames can be rendered in any order."""
        stamp, image_stamp = self.stamps(index)
        t, t_stamped = (stamp - _START_NS) / 1e9, (image_stamp - _START_NS) / 1e9
        t_image = t_stamped + self.domain.miscalibration.late
        rng = np.random.default_rng([self.seed, 19, index])
        T_base, T_base_image = self.T_odom_base(t), self.T_odom_base(t_image)
        T_lidar = T_base @ self.lidar.T_base_lidar
        met = trace(self.scene, t, self.lidar.grid, T_lidar, reach=self.domain.lidar.max_range)
        sweep = self.lidar.sweep(met, rng)
        seen = trace(self.scene, t_image, self.camera.grid, T_base_image @ self.camera.T_base_camera)
        colors = self._shader.shade(seen, T_base_image, t_image)
        drift = 0.4 * self.domain.camera.exposure_spread * np.sin(0.9 * t_image + self._sway[1])
        exposure = self._exposure * float(np.exp(drift))
        image = self.camera.expose(colors, exposure, self.domain.night, self.domain.rain, rng)
        _, jpeg = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
        instances = seen.instance.reshape(seen.shape)
        return Recording(stamp, image_stamp, sweep, jpeg.ravel(), instances, T_base, self.T_odom_base(t_stamped))

    def frame(self, index: int) -> Frame:
        """The frame as a ``BagReader`` reads it from the drive's bag."""
        r = self.record(index)
        image = np.asarray(
            cv2.imdecode(r.jpeg, cv2.IMREAD_COLOR_RGB), np.uint8
        )  # with the JPEG's losses, as in the bag
        T_odom_lidar = r.T_odom_base @ self.lidar.T_base_lidar
        T_camera_lidar = invert(r.T_odom_base_image @ self.T_base_camera) @ T_odom_lidar
        view = CameraView(CAMERA, r.image_stamp_ns, image, self.camera.model, T_camera_lidar, r.instances)
        truth, instances = r.sweep.class_id, r.sweep.instance
        mounting = self.lidar.T_base_lidar
        return Frame(r.stamp_ns, LIDAR, r.sweep.points, (view,), truth, T_odom_lidar, instances, mounting)


def _random_motion(degrees: float, metres: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(4, 4) rotation by an angle about a random axis and shift in a random direction."""
    axis, direction = (vector / np.linalg.norm(vector) for vector in rng.standard_normal((2, 3)))
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees) * axis).as_matrix()
    T[:3, 3] = metres * direction
    return T


def frames(domain: str, seed: int, frames: int, period: float = PERIOD) -> Iterator[Frame]:
    """The frames of a drive, each rendered when it is iterated. Raises ConfigError for an unknown domain."""
    drive = Drive(domain, seed, frames, period)
    return (drive.frame(index) for index in range(frames))


def render_drive(
    domain: str,
    seed: int,
    frames: int,
    output: Path,
    progress: Progress = no_progress,
    force: bool = False,
    storage: Storage = "mcap",
    period: float = PERIOD,
) -> None:
    """Renders a drive into a rosbag2 with its calibration file.

    Args:
        output: the bag's folder.
        progress: called with (frames done, frames in total).
        force: replace an existing bag.

    Raises:
        ConfigError: unknown domain.
        BagError: the output exists or cannot be written.
    """
    from sam_adapt_ros.bags import BagWriter
    from sam_adapt_ros.messages.calibration_file import CALIBRATION_FILE, Calibration, CameraCalibration

    drive = Drive(domain, seed, frames, period)
    camera, lidar = drive.camera, drive.lidar
    cameras = {CAMERA: CameraCalibration(CAMERA, drive.T_base_camera, camera.model)}
    colors = Taxonomy.load("town").colors
    with BagWriter(output, storage=storage, force=force) as writer:
        static = [(BASE, LIDAR, lidar.T_base_lidar), (BASE, CAMERA, drive.T_base_camera)]
        writer.write_tf_static(_START_NS, static)
        for index in range(frames):
            _write(writer, drive, drive.record(index), colors)
            progress(index + 1, frames)
        Calibration(LIDAR, BASE, ODOMETRY, lidar.T_base_lidar, cameras).save(writer.folder / CALIBRATION_FILE)


def _write(writer: BagWriter, drive: Drive, r: Recording, colors: NDArray[np.uint8]) -> None:
    from sam_adapt_ros.messages.point_cloud import encode_cloud

    for stamp, T in ((r.stamp_ns, r.T_odom_base), (r.image_stamp_ns, r.T_odom_base_image)):
        writer.write_tf(stamp, [(ODOMETRY, BASE, T)])
        linear, angular = _twist(drive, stamp)
        writer.write_odometry("/odom", stamp, ODOMETRY, BASE, T, linear, angular)
    x, y, z = r.sweep.points.T
    cloud = encode_cloud({"x": x, "y": y, "z": z, "intensity": r.sweep.intensity, "ring": r.sweep.ring})
    writer.write_cloud(f"/{LIDAR}", r.stamp_ns, LIDAR, cloud)
    certain = np.ones(len(x), np.float32)
    labels = (r.sweep.points, r.sweep.class_id, certain, colors, r.sweep.instance)
    writer.write_labels("/ground_truth/labels", r.stamp_ns, LIDAR, *labels)
    writer.write_camera_info(f"/{CAMERA}/camera_info", r.image_stamp_ns, CAMERA, drive.camera.model)
    writer.write_image_bytes(f"/{CAMERA}/image_rect_compressed", r.image_stamp_ns, CAMERA, r.jpeg, "jpeg")
    _, png = cv2.imencode(".png", r.instances, (cv2.IMWRITE_PNG_COMPRESSION, 1))
    writer.write_image_bytes(f"/{CAMERA}/instances", r.image_stamp_ns, CAMERA, png, "png")


def _twist(drive: Drive, stamp_ns: int) -> tuple[list[float], list[float]]:
    """Linear and angular velocity in base_link, by central differences."""
    t, h = (stamp_ns - _START_NS) / 1e9, 0.01
    before, after = drive.T_odom_base(t - h), drive.T_odom_base(t + h)
    motion = invert(before) @ after
    turn = (motion[2, 1] - motion[1, 2], motion[0, 2] - motion[2, 0], motion[1, 0] - motion[0, 1])
    return (motion[:3, 3] / (2 * h)).tolist(), (np.array(turn) / (4 * h)).tolist()
