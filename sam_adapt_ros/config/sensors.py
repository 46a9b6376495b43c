"""Sensors: topics, frames, transforms, time synchronization and ground truth."""

from __future__ import annotations

from pydantic import Field

from sam_adapt_ros.config.section import Count, FilePath, NonNegative, Section


class LidarConfig(Section):
    """The LiDAR, whose sweeps are labelled."""

    topic: str = Field("/LIDAR_TOP", description="sensor_msgs/PointCloud2 topic of the sweeps")
    deskew: bool = Field(
        True,
        description="Whether the vehicle's motion within a sweep is undone where points carry times and poses are "
        "known; false where the driver, or whoever made the recording, has undone it already",
    )


class CameraConfig(Section):
    """A camera; ``<name>`` is any name of your own, one section a camera."""

    image: str = Field(description="sensor_msgs/Image or CompressedImage topic; its type is detected")
    info: str = Field("", description="sensor_msgs/CameraInfo topic; empty: the calibration file has the intrinsics")
    frame_id: str = Field("", description="Optical frame (z forward); empty: header.frame_id of the images")
    rectified: bool = Field(False, description="Whether images are rectified: R and P of CameraInfo hold, D is ignored")
    time_offset: float = Field(0.0, description="Added to the camera's stamps to bring them to the LiDAR's clock [s]")
    instances: str = Field("", description="mono16 Image topic of true instance ids, which only a simulator has")


class TransformConfig(Section):
    """Where poses and extrinsics come from."""

    odometry_frame: str = Field("odom", description="Fixed frame by which the vehicle's motion is compensated")
    base_frame: str = Field("base_link", description="The vehicle's frame (REP-105)")
    odometry_topic: str = Field("/odom", description="nav_msgs/Odometry topic, used where TF has no odometry")
    calibration_file: FilePath = Field(
        "", description="Extrinsics and intrinsics where TF or CameraInfo has none; empty: the bag's calibration.yaml"
    )
    timeout: NonNegative = Field(0.1, description="How long a sweep waits for TF or odometry at its stamps [s]")
    max_extrapolation: NonNegative = Field(
        0.1, description="How far poses are at most extrapolated, at constant velocity [s]"
    )


class SyncConfig(Section):
    """Time synchronization of images with sweeps."""

    camera_timeout: NonNegative = Field(0.1, description="How long a sweep waits for its images [s]")
    camera_tolerance: NonNegative = Field(
        0.06, description="Largest difference of the stamps of a sweep and an image that belongs to it [s]"
    )
    queue_size: Count = Field(
        8, description="Sweeps that may wait for images; when more do, the oldest is dropped and counted"
    )
    max_backward_jump: NonNegative = Field(
        1.0, description="Stamps that go back by more are a looping bag or a clock that was set: start anew [s]"
    )


class GroundTruthConfig(Section):
    """Labels to compare with; read by replay, evaluation and training only."""

    topic: str = Field(
        "/ground_truth/labels", description="PointCloud2 topic with a field class_id or label; empty: none"
    )
    mapping: str = Field(
        "", description="Mapping of the taxonomy that the ids go through; empty: they are of the taxonomy already"
    )
