"""Which shipped preset a bag's topics fit."""

import pytest

from sam_adapt_ros.config import PRESETS, Config, find_preset

CAMERAS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")


def topics_of(*cameras: str, more: tuple[str, ...] = ()) -> set[str]:
    images = {f"/{camera}/{part}" for camera in cameras for part in ("image_rect_compressed", "camera_info")}
    return {"/LIDAR_TOP", "/tf", "/tf_static", *images, *more}


TOWN = topics_of("CAM_FRONT", more=("/odom", "/CAM_FRONT/instances", "/ground_truth/labels"))


@pytest.mark.parametrize(
    ("topics", "preset"),
    [
        (TOWN, "town"),
        (TOWN | {"/segmentation/labels", "/rosout", "/diagnostics"}, "town"),
        (topics_of(*CAMERAS, more=("/odom", "/ground_truth/labels")), "nuscenes"),
        (topics_of(*CAMERAS), "nuscenes"),  # of nuscenes_to_ros2bag: neither odometry nor labels
        (topics_of("CAM_FRONT", more=("/odom",)), "kitti"),
        (topics_of("CAM_FRONT"), "kitti"),  # a drive without oxts
        (topics_of("CAM_FRONT", more=("/ground_truth/labels",)), None),  # kitti would leave the labels unread
        (topics_of("CAM_FRONT", "CAM_BACK"), None),  # kitti would leave a camera unread
        (TOWN - {"/CAM_FRONT/image_rect_compressed"}, None),
        ({"/velodyne_points", "/camera/image_raw"}, None),
        (set(), None),
    ],
)
def test_the_preset_whose_topics_a_bag_has(topics: set[str], preset: str | None) -> None:
    assert find_preset(topics) == preset


@pytest.mark.parametrize("preset", PRESETS)
def test_a_bag_with_exactly_a_presets_topics_fits_it(preset: str) -> None:
    config = Config.load(preset)
    cameras = config.cameras.values()
    topics = {config.lidar.topic, config.transforms.odometry_topic, config.ground_truth.topic}
    topics |= {topic for c in cameras for topic in (c.image, c.info, c.instances)}
    assert find_preset(topics - {""}) == preset
