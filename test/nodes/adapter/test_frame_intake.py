"""What becomes of labelled sweeps before they are learned from."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from adapter_support import label_message
from buffer_support import small
from node_support import START_NS, make_sweep, random_points, until

from sam_adapt_ros.adaptation import FrameBuffer
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.nodes.adapter.frame_intake import FrameIntake

SECOND = 1_000_000_000


@pytest.mark.parametrize("placed", [True, False])
def test_frames_of_a_drive_whose_odometry_begins_anew_are_kept_apart(placed: bool) -> None:
    """placed: whether the frame has a pose; where its sensor is a guess it has none, though the vehicle has."""
    points, buffer, taken = random_points(3), FrameBuffer(small()), list[Frame]()
    metres = {START_NS: 0.0, START_NS + 20 * SECOND: 300.0, START_NS + 21 * SECOND: 0.0}

    def pose(sweep) -> np.ndarray:
        T = np.eye(4)
        T[0, 3] = metres[sweep.stamp_ns]
        return T

    def decode(sweep) -> Frame:
        return Frame(sweep.stamp_ns, "lidar", points, T_odom_lidar=pose(sweep) if placed else None)

    def observe(frame: Frame, class_id: np.ndarray, probability: np.ndarray, admission: object) -> str:
        taken.append(frame)
        return "kept"

    training = SimpleNamespace(adapter=SimpleNamespace(buffer=buffer, admit=lambda *_: object()), observe=observe)
    intake = FrameIntake(SimpleNamespace(pose=pose, decode=decode), training, SimpleNamespace(warning=print))  # type: ignore[arg-type]
    for count, stamp in enumerate(metres, 1):
        intake.add(make_sweep(stamp, points), label_message(stamp, points))
        until(lambda count=count: sum(intake.counts.values()) == count)  # type: ignore[misc]
    intake.close()
    assert intake.counts == {"kept": 3}
    found = [None if frame.T_odom_lidar is None else frame.T_odom_lidar[0, 3] for frame in taken]
    assert found == ([0.0, 300.0, 100_000.0] if placed else [None] * 3)
