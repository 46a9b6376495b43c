"""Which topics of a bag play which role: LiDAR, camera images, CameraInfo, transforms, odometry, ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sam_adapt_ros.bags.message_reader import Topic
from sam_adapt_ros.config import Config
from sam_adapt_ros.messages import TF_TOPICS, TF_TYPE, transform_topics

POINT_CLOUD = ("sensor_msgs/msg/PointCloud2",)
IMAGE = ("sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image")
CAMERA_INFO = ("sensor_msgs/msg/CameraInfo",)
ODOMETRY = ("nav_msgs/msg/Odometry",)
TRANSFORMS = (TF_TYPE,)


@dataclass
class TopicRoles:
    """The topics that are there, by role.

    lidar: topic. images: topic -> camera. infos: topic -> cameras. instances: topic -> camera.
    transforms: TF topic -> whether its transforms are static. odometry, ground_truth: topic; "" where there is none.
    found: (role, topic, type) of each. missing: one line for the user per role that has no usable topic.
    guessed: one line for each topic that was chosen although it is not the one by its name.
    errors: those of them that make the bag unusable.
    """

    lidar: str
    images: dict[str, str] = field(default_factory=dict)
    infos: dict[str, list[str]] = field(default_factory=dict)
    instances: dict[str, str] = field(default_factory=dict)
    transforms: dict[str, bool] = field(default_factory=dict)
    odometry: str = ""
    ground_truth: str = ""
    found: list[tuple[str, str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    guessed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def context_topics(self) -> set[str]:
        """All topics but those of sweeps and images."""
        topics = {*self.infos, *self.instances, *self.transforms, self.odometry, self.ground_truth}
        return topics - {"", self.lidar, *self.images}


def find_topic_roles(topics: Mapping[str, Topic], config: Config) -> TopicRoles:
    """Looks the configured topics up. topics: the bag's, by name."""
    roles = TopicRoles(lidar=config.lidar.topic)

    def find(role: str, topic: str, types: tuple[str, ...], needed: bool = True) -> bool:
        if topic in topics and topics[topic].msgtype in types:
            if topics[topic].count:
                roles.found.append((role, topic, topics[topic].msgtype))
                return True
            roles.missing.append(f"{role}: {topic} has no messages")
        elif topic in topics:
            roles.missing.append(f"{role}: {topic} is {topics[topic].msgtype}, {' or '.join(types)} expected")
        elif needed:
            roles.missing.append(f"{role}: no topic {topic}{_suggest(topics, types)}")
        return False

    if not find("lidar", config.lidar.topic, POINT_CLOUD):
        roles.errors.append(roles.missing[-1])
    for name, camera in config.cameras.items():
        if not find(f"cameras.{name}.image", camera.image, IMAGE):
            continue
        roles.images[camera.image] = name
        if camera.info and find(f"cameras.{name}.info", camera.info, CAMERA_INFO):
            roles.infos.setdefault(camera.info, []).append(name)
        if camera.instances and find(f"cameras.{name}.instances", camera.instances, IMAGE, needed=False):
            roles.instances[camera.instances] = name
    others = [name for name, topic in topics.items() if topic.msgtype in IMAGE and topic.count]
    if config.cameras and others and not roles.images:
        # A bag without any image is accepted; one that has images on other topics only is another vehicle's.
        expected = ", ".join(camera.image for camera in config.cameras.values())
        roles.errors.append(f"cameras: none of {expected}, but {', '.join(others[:6])}: another preset may fit (-c)")
    for name, static in TF_TOPICS.items():
        topic = _transform_topic(name, topics, roles)
        if find("transforms", topic, TRANSFORMS, needed=False):
            roles.transforms[topic] = static
    odometry = config.transforms.odometry_topic
    moving = not all(roles.transforms.values())
    if odometry and find("transforms.odometry_topic", odometry, ODOMETRY, needed=not moving):
        roles.odometry = odometry
    truth = config.ground_truth.topic
    if truth and find("ground_truth", truth, POINT_CLOUD, needed=False):
        roles.ground_truth = truth
    return roles


def _transform_topic(name: str, topics: Mapping[str, Topic], roles: TopicRoles) -> str:
    """The vehicle's ``/tf`` or ``/tf_static``: that of the LiDAR's namespace or the nearest one above it, else the only
    one."""
    there = [topic.name for topic in topics.values() if topic.msgtype in TRANSFORMS and topic.count]
    there = [topic for topic in there if topic.rpartition("/")[2] == name]
    candidates = transform_topics(name, roles.lidar)
    topic = next((candidate for candidate in candidates if candidate in there), candidates[-1])
    if topic in there or not there:
        return topic
    if len(there) > 1:
        roles.missing.append(
            f"transforms: no {topic}, and {', '.join(there)} are of several vehicles, none of them in the namespace of "
            f"{roles.lidar}: keep those of one (ros2 bag convert), or set transforms.calibration_file"
        )
        return topic
    roles.guessed.append(f"transforms: {there[0]} is used, there is no {topic}")
    return there[0]


def _suggest(topics: Mapping[str, Topic], types: tuple[str, ...]) -> str:
    fitting = [name for name, topic in topics.items() if topic.msgtype in types]
    return f" (of this type: {', '.join(fitting[:6])})" if fitting else " (and none of this type)"
