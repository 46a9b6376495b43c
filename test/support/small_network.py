import numpy as np
import pytest
import torch

from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.frame import CameraView, Frame
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.segmenter import Segmenter
from sam_adapt_ros.taxonomy import Taxonomy

TINY = ArchitectureConfig(
    encoder="tu-resnet10t",
    encoder_depth=3,
    encoder_stem=8,
    encoder_channels=[8, 12, 16, 16],
    decoder_channels=[12, 8],
    image_height=48,
    image_width=96,
    image_dropout=0.1,
    point_width=4,
    point_levels=3,
    voxel_size=0.3,
)
"""The smallest network of the same kind."""

FORWARD = np.array([[0, -1, 0, 0], [0, 0, -1, 0.2], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64)  # camera looks along x


def turned(angle: float) -> np.ndarray:
    """T_camera_lidar of a camera that looks along x turned about z."""
    c, s = np.cos(angle), np.sin(angle)
    return FORWARD @ np.array([[c, s, 0, 0], [-s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def make_frame(seed: int = 0, points: int = 1500, cameras: int = 1, width: int = 96, height: int = 48) -> Frame:
    """Ground (0), a wall (1) and boxes (2) whose colours give them away."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, points)
    xyz = rng.uniform((-12, -12, 0), (12, 12, 0.05), (points, 3))
    xyz[kind == 0, 2] = -1.8
    xyz[kind == 1, 0] = np.where(xyz[kind == 1, 0] > 0, 12, -12)
    xyz[kind == 1, 2] = rng.uniform(-1.5, 3, (kind == 1).sum())
    xyz[kind == 2] = rng.uniform((4, -4, -1.5), (6, 4, -0.5), ((kind == 2).sum(), 3))
    views = []
    for index in range(cameras):
        image = np.full((height, width, 3), 30, np.uint8)
        camera = CameraModel(width, height, np.array([[60.0, 0, width / 2], [0, 60.0, height / 2], [0, 0, 1]]))
        view = CameraView(f"cam{index}", 0, image, camera, turned(2 * np.pi * index / max(cameras, 1)))
        at = (view.T_camera_lidar[:3, :3] @ xyz.T).T + view.T_camera_lidar[:3, 3]
        uv, _, valid = camera.project(at.astype(np.float32))
        u, v = np.round(uv[valid]).astype(int).T.clip(0, np.array([[width - 1], [height - 1]]))
        image[v, u] = np.array([[90, 90, 90], [200, 60, 40], [40, 60, 220]])[kind[valid]]
        views.append(view)
    return Frame(seed, "lidar", xyz.astype(np.float32), tuple(views), kind.astype(np.uint8))


@pytest.fixture(scope="session")
def tiny() -> ArchitectureConfig:
    return TINY


@pytest.fixture(scope="session")
def shapes() -> Taxonomy:
    return Taxonomy("shapes", ("ground", "wall", "box"), np.zeros((3, 3), np.uint8))


@pytest.fixture
def network(tiny: ArchitectureConfig) -> Network:
    torch.manual_seed(0)
    return Network(3, tiny)


@pytest.fixture
def segmenter(network: Network, shapes: Taxonomy) -> Segmenter:
    return Segmenter(network, shapes)


@pytest.fixture(name="make_frame", scope="session")
def _make_frame():
    return make_frame
