"""Sensors: topics, frames, transforms, time synchronization and ground truth."""

from __future__ import annotations

from sam_adapt_ros.config.section import Count, NonNegative, Section


class LidarConfig(Section):
    topic: str = "/LIDAR_TOP"  # sensor_msgs/PointCloud2


class CameraConfig(Section):
    image: str  # sensor_msgs/Image or CompressedImage topic; the type is found from the graph or the bag
    info: str = ""  # sensor_msgs/CameraInfo topic; "": intrinsics come from the calibration file
    frame_id: str = ""  # optical frame; "": the image's own header.frame_id
    rectified: bool = False  # True: the image is rectified, so R and P hold and D is ignored
    time_offset: float = 0.0  # added to the camera's stamps to bring them to the LiDAR's clock
    instances: str = ""  # mono16 Image topic of true instance ids (simulators only)


class TransformConfig(Section):
    odometry_frame: str = "odom"  # the fixed frame that the vehicle's motion is undone through
    base_frame: str = "base_link"
    odometry_topic: str = "/odom"  # nav_msgs/Odometry, used where TF is not to be had
    calibration_file: str = ""  # extrinsics and intrinsics where TF or CameraInfo is missing; "": the bag's own
    timeout: NonNegative = 0.1  # how long a sweep waits for TF or odometry at its stamps
    max_extrapolation: NonNegative = 0.1  # poses are extrapolated at constant velocity at most this far


class SyncConfig(Section):
    camera_timeout: NonNegative = 0.1  # how long a sweep waits for its images
    camera_tolerance: NonNegative = 0.06  # an image belongs to a sweep when their stamps differ by no more
    queue_size: Count = 8  # sweeps that may wait; the oldest is dropped, and counted, when more do
    max_backward_jump: NonNegative = 1.0  # stamps that go back further are a looping bag or a clock jump: start anew


class GroundTruthConfig(Section):
    topic: str = "/ground_truth/labels"  # label cloud; used by replay and evaluation only
    mapping: str = ""  # the taxonomy's mapping that its class_id goes through; "": already class ids
