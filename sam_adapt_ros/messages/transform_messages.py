"""TF and odometry messages -> the transform tree."""

from __future__ import annotations

import logging
from typing import Any

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry.transform_tree import TransformTree
from sam_adapt_ros.geometry.transforms import make_transform
from sam_adapt_ros.messages.stamps import stamp_ns

logger = logging.getLogger(__name__)


def feed_tf(tree: TransformTree, msg: Any, static: bool) -> int:
    """Adds every usable transform of a ``tf2_msgs/TFMessage`` to the tree; returns how many were not usable.

    Left out are zero quaternions, numbers that are not finite, empty frame names, and moving transforms without a
    stamp: one broken publisher must not disturb the others' transforms.
    """
    unusable = 0
    for stamped in msg.transforms:
        t, q = stamped.transform.translation, stamped.transform.rotation
        unusable += not _feed(tree, stamped.header, stamped.child_frame_id, t, q, static)
    return unusable


def feed_odometry(tree: TransformTree, msg: Any) -> int:
    """Adds a ``nav_msgs/Odometry``'s pose as ``header.frame_id -> child_frame_id``; returns 1 if it is not usable."""
    pose = msg.pose.pose
    return int(not _feed(tree, msg.header, msg.child_frame_id, pose.position, pose.orientation, static=False))


def _feed(tree: TransformTree, header: Any, child: str, t: Any, q: Any, static: bool) -> bool:
    stamp = stamp_ns(header)
    try:
        if stamp == 0 and not static:
            raise ValueError("stamp 0")
        tree.add(header.frame_id, child, stamp, make_transform((t.x, t.y, t.z), (q.x, q.y, q.z, q.w)), static)
    except (ValueError, CalibrationError) as error:
        logger.debug("transform %s -> %s left out: %s", header.frame_id, child, error)
        return False
    return True
