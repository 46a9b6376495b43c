"""Pictures of labelled frames: points over the camera images, and the labelled cloud seen from behind the vehicle."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.frame import IGNORE, CameraView, Frame
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.geometry.projection import project
from sam_adapt_ros.geometry.transforms import transform_points
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization.overlay import draw_overlay

BACKGROUND = (24, 26, 30)
WIDTH = 1280
"""Of composed pictures, in pixels."""
BAND = 24
"""Height of a panel's title, in pixels."""


def save_image(image: NDArray[np.uint8], path: Path) -> Path:
    """Writes a PNG or JPEG, by the path's suffix, and its folder. image: (H, W, 3) uint8 RGB. Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    path.write_bytes(data.tobytes())  # cv2.imwrite says nothing of a full disk
    return path


def camera_overlay(frame: Frame, view: CameraView, labels: NDArray[np.uint8], taxonomy: Taxonomy) -> NDArray[np.uint8]:
    """The view's image, (H, W, 3) RGB, its points coloured by ``labels`` (N,); ignore is left out."""
    projection = project(frame.points, view)
    shown = projection.valid & (labels != IGNORE)
    return draw_overlay(view.image, projection.uv[shown], projection.depth[shown], taxonomy.colors[labels[shown]])


def label_view(
    frame: Frame, labels: NDArray[np.uint8], taxonomy: Taxonomy, size: tuple[int, int] = (960, 480)
) -> NDArray[np.uint8]:
    """The labelled cloud, (height, width, 3) RGB, from 14 m behind and 9 m above the sensor, looking ahead.

    Ahead is where the first camera looks; x without a camera. size: width, height.
    """
    ahead = frame.views[0].T_camera_lidar[2, :2] if frame.views else np.array([1.0, 0.0])
    ahead = ahead / np.linalg.norm(ahead)
    width, height = size
    K = np.array([[0.6 * width, 0, width / 2], [0, 0.6 * width, 0.32 * height], [0, 0, 1.0]])
    camera = CameraModel(width, height, K)
    z_axis = np.array([*ahead * np.cos(0.42), -np.sin(0.42)])
    x_axis = np.array([ahead[1], -ahead[0], 0.0])
    rotation = np.stack([x_axis, np.cross(z_axis, x_axis), z_axis])
    T_camera_lidar = np.eye(4)
    T_camera_lidar[:3, :3] = rotation
    T_camera_lidar[:3, 3] = -rotation @ np.array([*(-14.0 * ahead), 9.0])
    uv, depth, valid = camera.project(transform_points(T_camera_lidar, frame.points))
    canvas = np.full((height, width, 3), BACKGROUND, np.uint8)
    return draw_overlay(canvas, uv[valid], depth[valid], taxonomy.colors[labels[valid]])


def legend(taxonomy: Taxonomy, width: int = WIDTH) -> NDArray[np.uint8]:
    """The palette with names, (h, width, 3) RGB."""
    cell, row = 150, 26
    columns = max(width // cell, 1)
    image = np.full((row * -(-len(taxonomy) // columns), width, 3), BACKGROUND, np.uint8)
    for class_id, name in enumerate(taxonomy.classes):
        x, y = cell * (class_id % columns), row * (class_id // columns)
        color = tuple(int(c) for c in taxonomy.palette[class_id])
        cv2.rectangle(image, (x + 6, y + 6), (x + 22, y + 20), color, cv2.FILLED)
        cv2.putText(image, name, (x + 30, y + 18), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (230, 230, 230), 1, cv2.LINE_AA)
    return image


def mosaic(images: list[NDArray[np.uint8]], columns: int, width: int) -> NDArray[np.uint8]:
    """Images of any size in a grid of ``columns``, each scaled to width / columns."""
    cell = width // columns
    scaled = [
        cv2.resize(i, (cell, round(cell * i.shape[0] / i.shape[1])), interpolation=cv2.INTER_AREA) for i in images
    ]
    height = max(image.shape[0] for image in scaled)
    rows = -(-len(scaled) // columns)
    canvas = np.full((rows * height, columns * cell, 3), BACKGROUND, np.uint8)
    for place, image in enumerate(scaled):
        y, x = height * (place // columns), cell * (place % columns)
        canvas[y : y + image.shape[0], x : x + cell] = image
    return canvas


def titled(panel: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    """The panel below a band with its title."""
    band = np.full((BAND, panel.shape[1], 3), 18, np.uint8)
    cv2.putText(band, title, (8, BAND - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([band, panel])


def overlay_picture(frame: Frame, labels: NDArray[np.uint8], taxonomy: Taxonomy) -> NDArray[np.uint8] | None:
    """The frame's points on its images, three in a row, 1280 wide, with the palette; None without a camera.

    With ground truth and one camera, the true labels are on the right.
    """
    overlays = [camera_overlay(frame, view, labels, taxonomy) for view in frame.views]
    if len(overlays) == 1 and frame.ground_truth is not None:
        overlays.append(camera_overlay(frame, frame.views[0], frame.ground_truth, taxonomy))
    return _with_legend(mosaic(overlays, min(len(overlays), 3), WIDTH), taxonomy) if overlays else None


def label_picture(frame: Frame, labels: NDArray[np.uint8], taxonomy: Taxonomy) -> NDArray[np.uint8]:
    """The labelled cloud, 1280 wide, with the palette; with ground truth, the true labels are on the right."""
    clouds = [labels] if frame.ground_truth is None else [labels, frame.ground_truth]
    return _with_legend(mosaic([label_view(frame, cloud, taxonomy) for cloud in clouds], len(clouds), WIDTH), taxonomy)


def _with_legend(picture: NDArray[np.uint8], taxonomy: Taxonomy) -> NDArray[np.uint8]:
    return np.vstack([picture, legend(taxonomy, picture.shape[1])])
