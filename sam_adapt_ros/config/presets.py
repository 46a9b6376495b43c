"""The presets that ship with the package, and which of them fits a bag."""

from __future__ import annotations

from collections.abc import Collection

from sam_adapt_ros.config.root import Config

PRESETS = ("town", "nuscenes", "kitti")
"""Files ``config/<name>.yaml`` that a bag's topics are compared with."""
NAMED_PRESETS = ("semantickitti", "a2d2", "virtual_kitti")
"""Files as well, for bags of data sets that topics cannot tell apart: chosen by name."""


def find_preset(topics: Collection[str]) -> str | None:
    """The preset whose topics a bag has, or None when no preset, or more than one, fits.

    A preset fits when the bag has its LiDAR topic, all of its image topics and all of its topics of true instance ids
    (which only the simulator writes), and when the preset names every topic of the bag that any preset names: one
    camera of six, or labels that would go unread, make another vehicle's preset.

    Args:
        topics: names of the bag's topics.
    """
    topics = set(topics)
    presets = {name: Config.load(name) for name in PRESETS}
    known = set().union(*(_topics(config) for config in presets.values()))
    fitting = [
        name
        for name, config in presets.items()
        if _required_topics(config) <= topics and topics & known <= _topics(config)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _required_topics(config: Config) -> set[str]:
    cameras = config.cameras.values()
    return {config.lidar.topic, *(c.image for c in cameras), *(c.instances for c in cameras)} - {""}


def _topics(config: Config) -> set[str]:
    infos = {camera.info for camera in config.cameras.values()}
    return (_required_topics(config) | infos | {config.transforms.odometry_topic, config.ground_truth.topic}) - {""}
