"""Camera models, rigid transforms over time, projection, voxels. Knows neither ROS, bags nor models."""

from sam_adapt_ros.geometry.camera import CameraModel, Distortion
from sam_adapt_ros.geometry.poses import PoseBuffer
from sam_adapt_ros.geometry.projection import Assignment, Projection, assign_cameras, project, project_all
from sam_adapt_ros.geometry.transform_tree import TransformTree
from sam_adapt_ros.geometry.transforms import invert, make_transform, quaternion_from_matrix, transform_points
from sam_adapt_ros.geometry.voxels import voxelize

__all__ = [
    "Assignment",
    "CameraModel",
    "Distortion",
    "PoseBuffer",
    "Projection",
    "TransformTree",
    "assign_cameras",
    "invert",
    "make_transform",
    "project",
    "project_all",
    "quaternion_from_matrix",
    "transform_points",
    "voxelize",
]
