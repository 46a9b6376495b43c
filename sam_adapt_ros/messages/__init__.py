"""ROS message layouts <-> arrays, without ROS: whatever has the messages' attributes will do (rclpy, rosbags)."""

from sam_adapt_ros.messages.calibration_file import Calibration, CameraCalibration
from sam_adapt_ros.messages.camera_info import camera_from_info, optical_from_info
from sam_adapt_ros.messages.frame_assembler import AssembledFrame, FrameAssembler
from sam_adapt_ros.messages.image import decode_image, decode_instances
from sam_adapt_ros.messages.point_cloud import (
    Cloud,
    CloudData,
    encode_cloud,
    encode_labels,
    read_labels,
    read_points,
)
from sam_adapt_ros.messages.stamps import serialized_stamp_ns, stamp_ns
from sam_adapt_ros.messages.time_synchronizer import Match, TimeSynchronizer
from sam_adapt_ros.messages.transform_messages import TF_TOPICS, TF_TYPE, TransformFeed, transform_topics

__all__ = [
    "TF_TOPICS",
    "TF_TYPE",
    "AssembledFrame",
    "Calibration",
    "CameraCalibration",
    "Cloud",
    "CloudData",
    "FrameAssembler",
    "Match",
    "TimeSynchronizer",
    "TransformFeed",
    "camera_from_info",
    "decode_image",
    "decode_instances",
    "encode_cloud",
    "encode_labels",
    "optical_from_info",
    "read_labels",
    "read_points",
    "serialized_stamp_ns",
    "stamp_ns",
    "transform_topics",
]
