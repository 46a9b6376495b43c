import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation.batch import Sample, collate

MakeFrame = Callable[..., Frame]


def test_resizing_keeps_points_on_their_pixels(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    """The colours of a ramp image are the pixels' original coordinates."""
    frame = make_frame(width=192, height=96)
    ramp = np.zeros((96, 192, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(192), np.arange(96)[:, None]
    view = dataclasses.replace(frame.views[0], image=ramp)
    sample = Sample.from_frame(dataclasses.replace(frame, views=(view,)), tiny)
    full = Sample.from_frame(
        dataclasses.replace(frame, views=(view,)), tiny.model_copy(update={"image_width": 192, "image_height": 96})
    )
    seen = sample.camera == 0
    assert seen.any()
    u, v = np.ascontiguousarray(sample.uv[seen].T)
    colors = cv2.remap(sample.images[0], u[None], v[None], cv2.INTER_LINEAR)[0]
    inner = (np.abs(full.uv[seen] - [95.5, 47.5]) < [94, 46]).all(1)
    np.testing.assert_allclose(colors[inner, :2], full.uv[seen][inner], atol=1)


def test_collate_keeps_frames_apart(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    samples = [Sample.from_frame(make_frame(seed, cameras=seed), tiny) for seed in (2, 0, 1)]
    batch = collate(samples, tiny)
    assert batch.frames == 3 and batch.images.shape[0] == 3
    sizes = [len(sample.points) for sample in samples]
    frame_of_point = np.repeat(np.arange(3), sizes)
    np.testing.assert_array_equal(batch.voxels[batch.voxel_of_point, 0], frame_of_point)
    assert batch.voxels.min() >= 0
    np.testing.assert_array_equal(batch.voxels, np.unique(batch.voxels.numpy(), axis=0))  # each once, ascending
    points = np.concatenate([sample.points for sample in samples])
    cells = np.floor(points.astype(np.float64) / tiny.voxel_size).astype(int)
    offsets = batch.voxels[batch.voxel_of_point, 1:].numpy() - cells
    for frame in range(3):
        own = offsets[frame_of_point == frame]
        assert (own == own[0]).all() and (own % (1 << (tiny.point_levels - 1)) == 0).all()
    camera = np.concatenate([sample.camera for sample in samples])
    np.testing.assert_array_equal(np.flatnonzero(camera >= 0), batch.seen)
    expected = camera[batch.seen] + np.array([0, 2, 2])[frame_of_point[batch.seen]]
    np.testing.assert_array_equal(batch.image_of_seen, expected)


def test_voxel_features_match_a_loop(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    sample = Sample.from_frame(make_frame(points=300), tiny)
    assert (collate([sample], tiny).features == 1).all()
    batch = collate([sample], tiny.model_copy(update={"point_features": "offset"}))
    assert batch.features.shape == (len(batch.voxels), 4)
    inverse = batch.voxel_of_point.numpy()
    for voxel in range(len(batch.voxels)):
        cells = sample.points[inverse == voxel].astype(np.float64) / tiny.voxel_size
        expected = 2 * (cells.mean(0) - np.floor(cells[0])) - 1
        np.testing.assert_allclose(batch.features[voxel], [1, *expected], atol=1e-4)
