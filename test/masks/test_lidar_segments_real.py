"""LiDAR segments of real sweeps: the KITTI clip and the nuScenes keyframe."""

import numpy as np
import pytest
from dataset_support import convert_kitti, convert_nuscenes

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.config import Config, MaskConfig, SegmentsConfig
from sam_adapt_ros.geometry import project
from sam_adapt_ros.masks import SeenPoints, build
from sam_adapt_ros.masks.lidar_segments import LidarSegments


@pytest.fixture(scope="module")
def kitti(real_data, tmp_path_factory):
    drive = real_data / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_9001_sync"
    bag = convert_kitti(drive, tmp_path_factory.mktemp("kitti") / "bag")
    with BagReader(bag, Config.load("kitti")) as reader:
        return list(reader.frames())


@pytest.fixture(scope="module")
def nuscenes(real_data, tmp_path_factory):
    (bag,) = convert_nuscenes(real_data / "nuscenes_keyframe", tmp_path_factory.mktemp("nuscenes") / "bag")
    with BagReader(bag, Config.load("nuscenes", {"taxonomy": "nuscenes16"})) as reader:
        (frame,) = reader.frames()
    return frame


def masks_of(frame, view, generator="segments"):
    seen = SeenPoints.of(frame.points, project(frame.points, view))
    return seen, build(MaskConfig(generator=generator))(view, seen)


def test_every_sweep_of_the_clip_is_covered_by_pure_nested_masks(kitti):
    assert len(kitti) == 12
    for frame in kitti:
        (view,) = [view for view in frame.views if view.image.shape == (375, 1242, 3)]
        seen, masks = masks_of(frame, view)
        ground = LidarSegments(SegmentsConfig()).segment(frame.points).ground[seen.index]
        assert masks.membership.any(axis=0).mean() > 0.98
        assert 60 < len(masks) < 300
        for row in masks.membership:  # the ground and what stands on it never share a mask
            assert ground[row].all() or not ground[row].any()
        standing = masks.membership[[not ground[row].any() for row in masks.membership]]
        shared = standing.astype(np.int32) @ standing.T.astype(np.int32)
        size = np.diag(shared)
        nested = (shared == 0) | (shared == np.minimum(size[:, None], size))
        assert nested.all()


def test_the_road_ahead_is_ground_and_the_cars_are_not(kitti):
    """Where the clip's first image shows nothing but road, and nothing but the rear of the car ahead."""
    frame = kitti[0]
    (view,) = frame.views
    seen, _ = masks_of(frame, view)
    ground = LidarSegments(SegmentsConfig()).segment(frame.points).ground[seen.index]
    u, v = seen.uv.T
    road = (v > 325) & (u > 400) & (u < 700)
    rear = (u > 575) & (u < 670) & (v > 215) & (v < 285) & (seen.depth < 14)
    assert road.sum() > 200 and rear.sum() > 100
    assert ground[road].mean() > 0.99
    assert ground[rear].mean() < 0.01


def test_annotated_things_are_neither_ground_nor_mixed(nuscenes):
    """The keyframe's boxes: 984 points of things; a mask that holds one kind mostly holds no other."""
    segmentation = LidarSegments(SegmentsConfig()).segment(nuscenes.points)
    things = nuscenes.ground_truth != 255
    assert things.sum() > 500
    assert segmentation.ground[things].mean() < 0.15  # boxes reach down to the ground they stand on
    assert segmentation.ground[~things].mean() > 0.4
    for ids in segmentation.clusters:
        of_thing = ids[things & (ids >= 0)]
        kinds = np.zeros((ids.max() + 1, 256), int)
        np.add.at(kinds, (of_thing, nuscenes.ground_truth[things & (ids >= 0)]), 1)
        assert kinds.max(axis=1).sum() / kinds.sum() > 0.95


def test_all_six_cameras(nuscenes):
    assert len(nuscenes.views) == 6
    generator = build(MaskConfig(generator="segments+regions"))
    for view in nuscenes.views:
        seen = SeenPoints.of(nuscenes.points, project(nuscenes.points, view))
        masks = generator(view, seen)
        assert masks.membership.shape == (len(masks), len(seen))
        assert masks.membership.any(axis=0).mean() > 0.99
        assert (masks.areas > 0).all()
