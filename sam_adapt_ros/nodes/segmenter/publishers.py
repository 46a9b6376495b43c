"""The segmenter's topics: label clouds, and overlays while there are subscribers."""

from __future__ import annotations

import array
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, PointCloud2, PointField
from std_msgs.msg import Header

from sam_adapt_ros.branch import Branch
from sam_adapt_ros.config import CameraConfig
from sam_adapt_ros.frame import CameraView, Frame
from sam_adapt_ros.geometry import project
from sam_adapt_ros.geometry.poses import SECOND
from sam_adapt_ros.messages import encode_labels
from sam_adapt_ros.nodes import topics
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization.overlay import draw_overlay

if TYPE_CHECKING:
    from rclpy.node import Node

    from sam_adapt_ros.segmentation import Prediction

DEPTH = 10
JPEG_QUALITY = 85


class SegmenterPublishers:
    """``segmentation/labels`` in the node's namespace, ``~/labels_2d``, ``~/labels_3d`` and ``~/overlay/<camera>``."""

    def __init__(self, node: Node, cameras: Mapping[str, CameraConfig]) -> None:
        self._node, self._cameras = node, cameras
        self._labels = node.create_publisher(PointCloud2, topics.LABELS, DEPTH)
        self._branches = {
            Branch.IMAGE: node.create_publisher(PointCloud2, "~/labels_2d", DEPTH),
            Branch.POINTS: node.create_publisher(PointCloud2, "~/labels_3d", DEPTH),
        }
        self._overlays = {
            name: node.create_publisher(CompressedImage, f"~/{topics.overlay(name)}", DEPTH) for name in cameras
        }

    def publish_labels(self, frame: Frame, prediction: Prediction, taxonomy: Taxonomy) -> None:
        """The fused labels, at the sweep's own stamp and frame."""
        self._labels.publish(label_cloud(frame, prediction.labels, prediction.probability, taxonomy))

    def publish_on_demand(self, frame: Frame, prediction: Prediction, taxonomy: Taxonomy) -> None:
        """Each branch's own labels and the overlays: computed only while there are subscribers."""
        subscribed = {branch: p for branch, p in self._branches.items() if p.get_subscription_count()}
        if subscribed:
            labels = prediction.by_branch()
            probabilities = {Branch.IMAGE: prediction.image, Branch.POINTS: prediction.points}
            for branch, publisher in subscribed.items():
                probability = probabilities[branch].max(axis=1, initial=0.0)
                publisher.publish(label_cloud(frame, labels[branch], probability, taxonomy))
        for view in frame.views:
            publisher = self._overlays[view.name]
            if publisher.get_subscription_count():
                offset = self._cameras[view.name].time_offset
                publisher.publish(overlay_image(frame, view, prediction.labels, taxonomy, offset))

    def close(self) -> None:
        for publisher in (self._labels, *self._branches.values(), *self._overlays.values()):
            self._node.destroy_publisher(publisher)


def label_cloud(
    frame: Frame, class_id: NDArray[np.uint8], probability: NDArray[np.float32], taxonomy: Taxonomy
) -> PointCloud2:
    """The frame's points with their classes as a message of one row."""
    encoded = encode_labels(frame.published_points, class_id, probability, taxonomy.colors)
    return PointCloud2(
        header=header(frame.stamp_ns, frame.frame_id),
        height=1,
        width=encoded.width,
        fields=[PointField(name=n, offset=o, datatype=d, count=c) for n, o, d, c in encoded.fields],
        is_bigendian=False,
        point_step=encoded.point_step,
        row_step=encoded.point_step * encoded.width,
        data=byte_array(encoded.data),
        is_dense=bool(np.isfinite(frame.published_points).all()),
    )


def overlay_image(
    frame: Frame, view: CameraView, labels: NDArray[np.uint8], taxonomy: Taxonomy, time_offset: float = 0.0
) -> CompressedImage:
    """The camera's image with the points it sees, as JPEG, with the frame and the stamp that the image came with.

    time_offset: seconds that were added to the camera's stamps.
    """
    seen = project(frame.points, view)
    drawn = draw_overlay(view.image, seen.uv[seen.valid], seen.depth[seen.valid], taxonomy.colors[labels[seen.valid]])
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    stamp = view.stamp_ns - round(time_offset * SECOND)
    return CompressedImage(header=header(stamp, view.frame_id), format="jpeg", data=byte_array(jpeg))


def header(stamp_ns: int, frame_id: str) -> Header:
    message = Header(frame_id=frame_id)
    message.stamp.sec, message.stamp.nanosec = divmod(stamp_ns, SECOND)
    return message


def byte_array(data: NDArray[Any]) -> array.array:
    """The bytes as rclpy keeps ``uint8[]``; it takes this type without checking every byte."""
    result = array.array("B")
    result.frombytes(np.ascontiguousarray(data).reshape(-1).view(np.uint8).data)
    return result
