"""TF and odometry messages -> the transform tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry.transform_tree import TransformTree, check_names
from sam_adapt_ros.geometry.transforms import Transform, invert, make_transform
from sam_adapt_ros.messages.stamps import stamp_ns
from sam_adapt_ros.notices import Notices

TF_TYPE = "tf2_msgs/msg/TFMessage"
TF_TOPICS = {"tf": False, "tf_static": True}
"""TF topic, in any namespace -> whether its transforms are static."""


def transform_topics(name: str, lidar_topic: str) -> list[str]:
    """Where a vehicle's ``tf`` or ``tf_static`` may be: in the namespace of its LiDAR's topic, then in those above it,
    up to ``/tf``. Robots that share a bag or a network have them in namespaces of their own."""
    topics, namespace = [], lidar_topic
    while namespace:
        namespace = namespace.rpartition("/")[0]
        topics.append(f"{namespace}/{name}")
    return topics


_NAMED = 20
"""Frames whose transforms are left out and that are named one by one; all others together."""
_OTHERS = "others"


@dataclass
class _LeftOut:
    """Transforms of one topic to one frame that were not usable: how many, and what is wrong with the last one."""

    count: int = 0
    text: str = ""


class TransformFeed:
    """Adds the usable transforms of messages to a tree, and says which are not.

    Left out are zero quaternions, numbers that are not finite, empty frame names, and moving transforms without a
    stamp: one broken publisher must not disturb the others' transforms. TF is the authority on a frame that it moves:
    odometry of the same frame may be of another origin. Odometry of a frame that TF fixes to another one, such as
    ``base_link`` to ``base_footprint``, moves both.
    """

    def __init__(self, tree: TransformTree, notices: Notices) -> None:
        self._tree, self._notices = tree, notices
        self._of_tf: set[str] = set()  # frames that TF moves
        self._of_odometry: dict[str, str] = {}  # child -> parent
        self._left_out: dict[tuple[str, str], _LeftOut] = {}  # by topic and child

    def tf(self, msg: Any, static: bool, topic: str = "/tf") -> int:
        """Takes a ``tf2_msgs/TFMessage``; returns how many of its transforms were not usable."""
        unusable = 0
        for stamped in msg.transforms:
            child = stamped.child_frame_id.lstrip("/")
            transform = stamped.transform
            T = self._usable(topic, stamped.header, child, transform.translation, transform.rotation, static)
            if T is None:
                unusable += 1
                continue
            if child in self._of_odometry:
                self._tree.remove(self._of_odometry.pop(child), child)
            if not self._add(topic, stamped.header, child, T, static):
                unusable += 1
            elif not static:
                self._of_tf.add(child)
        return unusable

    def odometry(self, msg: Any, topic: str = "/odom") -> int:
        """Takes a ``nav_msgs/Odometry``'s pose as ``header.frame_id -> child_frame_id``; 1 if it is unusable."""
        parent, child = (name.lstrip("/") for name in (msg.header.frame_id, msg.child_frame_id))
        fixed, T_top_child = self._tree.fixed_to(child)
        top, pose = fixed[-1], msg.pose.pose
        if top in self._of_tf or top in self._tree.fixed_to(parent)[0]:
            return 0  # TF tells where the frame is in odometry's own
        T_odom_child = self._usable(topic, msg.header, child, pose.position, pose.orientation, static=False)
        if T_odom_child is None or not self._add(topic, msg.header, top, T_odom_child @ invert(T_top_child), False):
            return 1
        self._of_odometry[top] = parent
        self._withdraw(topic, child)
        return 0

    def conclude(self) -> None:
        """No more messages will come: the notices name all that was left out, also where usable ones came later."""
        for topic, child in self._left_out:
            self._say(topic, child)

    def _usable(self, topic: str, header: Any, child: str, t: Any, q: Any, static: bool) -> Transform | None:
        """(4, 4); None, and said, where a message's numbers are no transform, or it has no names or no stamp."""
        try:
            check_names(header.frame_id, child)
            if stamp_ns(header) == 0 and not static:
                raise ValueError("a stamp expected, got 0")
            return make_transform((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
        except CalibrationError as error:
            self._leave_out(topic, child, str(error))
        except ValueError as error:
            self._leave_out(topic, child, f"{header.frame_id} -> {child}: {error}")
        return None

    def _add(self, topic: str, header: Any, child: str, T: Transform, static: bool) -> bool:
        try:
            self._tree.add(header.frame_id, child, stamp_ns(header), T, static)
        except CalibrationError as error:
            self._leave_out(topic, child, str(error))
            return False
        self._withdraw(topic, child)
        return True

    def _withdraw(self, topic: str, child: str) -> None:
        if (topic, named := self._named(topic, child)) in self._left_out:
            self._notices.withdraw(_key(topic, named))

    def _leave_out(self, topic: str, child: str, why: str) -> None:
        named = self._named(topic, child)
        left_out = self._left_out.setdefault((topic, named), _LeftOut())
        left_out.count += 1
        left_out.text = why
        self._say(topic, named)

    def _named(self, topic: str, child: str) -> str:
        """The name that a frame's left-out transforms are counted by: publishers may make up new ones for ever."""
        known = (topic, child) in self._left_out or len(self._left_out) < _NAMED
        return child if known else _OTHERS

    def _say(self, topic: str, child: str) -> None:
        left_out = self._left_out[topic, child]
        name = "child_frame_id is empty; " if not child else "of further frames, the last " if child == _OTHERS else ""
        self._notices.add(_key(topic, child), f"{topic}: {left_out.count} messages left out: {name}{left_out.text}")


def _key(topic: str, child: str) -> str:
    return f"transform:{topic}:{child}".replace(".", "_")
