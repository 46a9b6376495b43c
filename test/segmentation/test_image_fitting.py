"""Images at the network's size, squeezed or of one angular resolution, and where the points are in them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small_network import FORWARD, TINY, make_frame, turned

from sam_adapt_ros.frame import CameraView, Frame
from sam_adapt_ros.geometry.camera import CameraModel
from sam_adapt_ros.geometry.projection import project_all
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.image_fitting import ImageFit

FIXED = TINY.model_copy(update={"image_focal": 40.0, "image_mean": [0.5, 0.5, 0.5]})  # the image is 96 x 48


def view_of(width: int, height: int, fx: float, fy: float, cx: float, cy: float) -> CameraView:
    camera = CameraModel(width, height, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]))
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(width) // 2, np.arange(height)[:, None] // 2
    image[..., 2] = 255
    return CameraView("front", 0, image, camera, FORWARD)


VIEWS = {
    "narrow": view_of(320, 240, 400.0, 400.0, 159.5, 119.5),
    "wide": view_of(400, 120, 90.0, 90.0, 199.5, 59.5),
    "squat pixels, axis off the middle": view_of(300, 200, 200.0, 150.0, 120.0, 130.0),
    "larger than its focal length": view_of(60, 40, 20.0, 20.0, 29.5, 19.5),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_direction_has_the_same_pixel_through_every_lens(name: str) -> None:
    view = VIEWS[name]
    fit = ImageFit.of(view, FIXED)
    slopes = np.array([[0.0, 0.0], [0.3, 0.1], [-0.4, -0.2]], np.float32)
    uv = slopes * np.diag(view.camera.K)[:2] + view.camera.K[:2, 2]
    expected = slopes * FIXED.image_focal + (np.array([96, 48]) - 1) / 2
    scale, shift = fit.to_network
    np.testing.assert_allclose(uv * scale + shift, expected, atol=0.75)  # a pixel's rounding


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("architecture", [TINY, FIXED], ids=["squeezed", "fixed"])
def test_points_keep_their_pixels_content_and_none_is_on_padding(name: str, architecture) -> None:
    view = VIEWS[name]
    sample = Sample.from_frame(dataclasses.replace(make_frame(points=3000, cameras=0), views=(view,)), architecture)
    seen = sample.camera == 0
    (before,) = project_all(sample.points, (view,))
    assert seen.sum() > 20
    assert not (seen & ~before.valid).any()
    image = sample.images[0]
    assert image.shape == (48, 96, 3)
    u, v = np.round(sample.uv[seen]).astype(int).T
    assert ((u >= 0) & (u < 96) & (v >= 0) & (v < 48)).all()
    inner = image[v, u, 2] == 255
    assert inner.mean() > 0.97  # at the very border a pixel may be half padding
    expected = before.uv[seen] / 2
    step = 1.5 + 1 / ImageFit.of(view, architecture).scale
    assert (np.abs(image[v, u, :2] - expected)[inner] <= step).all()


def test_points_beyond_the_networks_image_are_seen_by_no_camera_or_by_the_other_one() -> None:
    wide = VIEWS["wide"]
    points = np.array([[5, 0, 0], [5, -6.5, 0], [5, 6.5, 0]], np.float32)  # ahead, right, left: 52 degrees off the axis
    right = dataclasses.replace(wide, T_camera_lidar=turned(-0.9))
    assert Sample.from_frame(Frame(0, "lidar", points, (wide,)), TINY).camera.tolist() == [0, 0, 0]
    assert Sample.from_frame(Frame(0, "lidar", points, (wide,)), FIXED).camera.tolist() == [0, -1, -1]
    assert Sample.from_frame(Frame(0, "lidar", points, (wide, right)), FIXED).camera.tolist() == [0, 1, -1]
