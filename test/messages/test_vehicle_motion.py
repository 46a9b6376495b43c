"""Which frame the vehicle moves in, what is worth waiting for, and odometry that can never help."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sam_adapt_ros.config import TransformConfig
from sam_adapt_ros.geometry import TransformTree, make_transform
from sam_adapt_ros.messages.vehicle_motion import VehicleMotion
from sam_adapt_ros.notices import Notices

SECOND = 10**9
T0 = 1_532_402_927 * SECOND


def at(x):
    return make_transform((x, 0, 0), (0, 0, 0, 1))


class Vehicle:
    """A LiDAR and a camera on ``base``; 10 Hz sweeps, each image 40 ms before its sweep; odometry at 50 Hz, 10 m/s."""

    def __init__(self, base: str = "base_link", **config) -> None:
        self.logged: list[str] = []
        self.notices = Notices(self.logged.append)
        self.tree = TransformTree()
        self.motion = VehicleMotion(self.tree, TransformConfig(**config), self.notices)
        for frame in ("lidar", "camera"):
            self.tree.add(base, frame, 0, np.eye(4), static=True)

    def odometry(self, fixed="odom", base="base_link", clock_s=0.0, until_s=4.0) -> Vehicle:
        for k in range(-10, round(50 * until_s)):
            self.tree.add(fixed, base, T0 + k * SECOND // 50 + round(clock_s * SECOND), at(k / 5))
        return self

    def drive(self, sweeps=30) -> Vehicle:
        self.shifts = []
        for k in range(sweeps):
            stamp = T0 + k * SECOND // 10
            T, motion = self.motion.between("camera", stamp - SECOND // 25, "lidar", stamp)
            self.shifts.append(T[0, 3])
            self.motion.note(motion)
        return self


@pytest.mark.parametrize(
    ("fixed", "base", "config"),
    [
        ("odom", "base_link", {}),
        ("map", "base_link", {}),
        ("world", "ego_vehicle", {}),
        ("world", "ego_vehicle", {"base_frame": "/ego_vehicle"}),
        ("earth", "base_link", {"odometry_frame": "/earth"}),
    ],
)
def test_the_frame_that_the_vehicle_moves_in_is_found_whatever_its_name(fixed, base, config, caplog) -> None:
    with caplog.at_level(logging.INFO):
        vehicle = Vehicle(base, **config).odometry(fixed, base).drive()
    assert vehicle.motion.fixed_frame("lidar").lstrip("/") == fixed
    assert_allclose(vehicle.shifts, 0.4, atol=1e-6)
    assert not vehicle.motion.awaited("lidar", T0, [("camera", T0)]) and not vehicle.logged
    named = f"the vehicle moves in {fixed}"
    assert sum(named in record.message for record in caplog.records) == (fixed in ("map", "world"))
    assert_allclose(vehicle.motion.pose("lidar", T0 + SECOND // 2)[0], at(5.0), atol=1e-9)


def test_a_joint_is_no_odometry() -> None:
    """A LiDAR on a mast that moves, on a vehicle whose motion nothing tells: it does not stand still at base_link."""
    vehicle = Vehicle()
    vehicle.tree.add("base_link", "mast", T0, at(0))
    vehicle.tree.add("mast", "top_lidar", 0, np.eye(4), static=True)
    assert vehicle.motion.fixed_frame("top_lidar") == "odom" and vehicle.motion.pose("top_lidar", T0)[0] is None


def test_odometry_of_another_base_frame_is_said_once() -> None:
    vehicle = Vehicle().odometry(base="base_footprint").drive()
    assert_allclose(vehicle.shifts, 0)
    assert len(vehicle.logged) == 1
    (notice,) = vehicle.notices
    assert "motion between 20 of 20 sweeps and their images is not known" in notice
    assert "'odom' is connected with base_footprint, 'lidar' with base_link, camera" in notice
    assert "transforms.odometry_frame (odom), base_frame (base_link)" in notice


def test_odometry_beside_the_tree_does_not_hide_the_frame_that_it_moves_in() -> None:
    vehicle = Vehicle().odometry(base="base_footprint").odometry("map", "base_link").drive()
    assert_allclose(vehicle.shifts, 0.4, atol=1e-6)
    assert not vehicle.logged


@pytest.mark.parametrize("clock_s", [-37.0, 37.0])
def test_odometry_of_another_clock_is_said_once(clock_s) -> None:
    vehicle = Vehicle().odometry(clock_s=clock_s).drive()
    assert_allclose(vehicle.shifts, 0)
    assert len(vehicle.logged) == 1
    (notice,) = vehicle.notices
    assert "transform odom <- base_link" in notice and "of another clock" in notice


def test_what_may_yet_come_is_named() -> None:
    vehicle = Vehicle()
    assert vehicle.motion.awaited("lidar", T0, [("camera", T0)]) == {"transform_missing of lidar"}
    vehicle.odometry(until_s=1.0)
    late = T0 + 2 * SECOND
    assert vehicle.motion.awaited("lidar", T0, [("camera", late)]) == {"transform_late of camera"}
    assert vehicle.motion.awaited("lidar", late, [("camera", T0)]) == {"transform_late of lidar"}
    assert not vehicle.motion.awaited("lidar", T0 - 2 * SECOND, [("camera", T0)]), "no earlier pose will come"
    assert not vehicle.motion.awaited("lidar", T0, [("nowhere", T0)])


def test_poses_that_are_extrapolated_are_counted_and_said() -> None:
    vehicle = Vehicle(max_extrapolation=0.1)
    for k in range(40):  # the newest pose is always 70 ms before the sweep
        vehicle.tree.add("odom", "base_link", T0 + k * SECOND // 10 - 70_000_000, at(k - 0.7))
        if k < 2:
            continue
        stamp = T0 + k * SECOND // 10
        T, motion = vehicle.motion.between("camera", stamp - SECOND // 25, "lidar", stamp)
        assert motion.extrapolated == pytest.approx(0.07)
        assert T[0, 3] == pytest.approx(0.4)
        assert vehicle.motion.pose("lidar", stamp)[1] == pytest.approx(0.07)
        vehicle.motion.note(motion)
    assert len(vehicle.logged) == 1
    (notice,) = vehicle.notices
    assert "20 of 20 sweeps" in notice and "70 ms" in notice and "transforms.timeout (0.1 s)" in notice


def test_it_takes_half_of_the_last_sweeps_and_is_withdrawn() -> None:
    vehicle = Vehicle().drive(9)
    assert not vehicle.logged
    vehicle.drive(1)
    assert len(vehicle.notices) == 1
    vehicle.odometry().drive(15)
    assert not vehicle.notices
    vehicle.motion.conclude()
    assert not vehicle.notices, "fewer than half of all"
    short = Vehicle().drive(3)
    short.motion.conclude()
    assert "3 of 3 sweeps" in next(iter(short.notices))
