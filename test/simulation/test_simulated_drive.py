"""Drives: exact labels, real parallax and motion, determinism, the shifts, and the bag that holds the same."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError, ConfigError
from sam_adapt_ros.geometry import invert, transform_points
from sam_adapt_ros.simulation import DOMAINS, Domain, Drive, frames, render_drive
from sam_adapt_ros.simulation import drive as drive_module
from sam_adapt_ros.simulation.sensors import Sweep
from sam_adapt_ros.simulation.trace import trace
from sam_adapt_ros.taxonomy import Taxonomy

ROAD, SIDEWALK, TERRAIN, POLE = 0, 1, 2, 7


def equal(a: Any, b: Any) -> bool:
    return a is not None and b is not None and np.array_equal(a, b)


@pytest.fixture(scope="module")
def day() -> Drive:
    return Drive("day", seed=4, frames=40, period=0.5)


def test_frames_are_the_same_for_the_same_seed_in_any_order(day: Drive) -> None:
    again = Drive("day", seed=4, frames=40, period=0.5)
    later, first = again.frame(3), again.frame(0)
    for a, b in ((first, day.frame(0)), (later, day.frame(3))):
        assert a.stamp_ns == b.stamp_ns
        assert equal(a.points, b.points) and equal(a.ground_truth, b.ground_truth)
        assert equal(a.views[0].image, b.views[0].image)
        assert equal(a.views[0].instances, b.views[0].instances)
    other = next(frames("day", 5, 1))
    assert other.points.shape != first.points.shape or not equal(other.points, first.points)


def test_all_classes_are_there_and_common_enough_to_learn(day: Drive) -> None:
    counts = np.sum([np.bincount(day.record(i).sweep.class_id, minlength=8) for i in range(0, 40, 5)], axis=0)
    assert len(counts) == len(Taxonomy.load("town"))
    assert (counts / counts.sum() > 0.004).all(), counts


def test_ground_points_lie_where_their_class_does(day: Drive) -> None:
    """Labels against the world's own description, through T_odom_lidar: heights and zones at the points' places."""
    r = day.record(6)
    world = transform_points(r.T_odom_base @ day.lidar.T_base_lidar, r.sweep.points)
    street = day.scene.street
    assert {*street.levels.round(2)} == {np.float32(level) for level in (0, 0.03, 0.08, 0.14, 0.18)}
    for class_id, highest in ((ROAD, 0.0), (SIDEWALK, 0.14)):  # a curb's face belongs to what it bounds
        z = world[r.sweep.class_id == class_id, 2]
        near = np.linalg.norm(r.sweep.points[r.sweep.class_id == class_id], axis=1) < 25
        assert z[near].min() > -0.06 and z[near].max() < highest + 0.06
    assert (world[r.sweep.class_id > TERRAIN, 2] > -0.1).all()
    met = trace(day.scene, 3.0, day.lidar.grid, day.T_odom_base(3.0) @ day.lidar.T_base_lidar)  # without noise
    ground = met.class_id <= TERRAIN
    x, y, z = met.origin[:, None] + met.directions[:, ground].astype(float) * met.distance[ground]
    zone, near = met.class_id[ground], met.distance[ground] < 60
    assert (day.scene.street.zone(x, y)[near] == zone[near]).mean() > 0.999
    height = street.height(x, y)
    flat = np.abs(z - height) < 1e-3
    assert flat[near].mean() > 0.97  # the rest are curbs' faces, below the surface they bound
    assert (z[near] < height[near] + 1e-3).mean() > 0.999 and (z[near] > -1e-3).all()


def test_every_instance_has_one_class(day: Drive) -> None:
    r = day.record(8)
    table = day.scene.instance_class
    assert equal(table[r.sweep.instance], r.sweep.class_id)
    seen = trace(day.scene, 4.0, day.camera.grid, day.T_odom_base(4.0) @ day.camera.T_base_camera)
    solid = seen.class_id != 255
    assert equal(table[seen.instance[solid]], seen.class_id[solid])
    assert (seen.instance[~solid] == 0).all() and (seen.instance[solid] > 0).all()
    assert len(np.unique(r.instances)) > 25


def test_points_project_onto_what_they_hit_or_onto_what_hides_it(day: Drive) -> None:
    agree = hidden = total = wrong = 0
    for index in (0, 9, 21, 33):
        r, frame = day.record(index), day.frame(index)
        view = frame.views[0]
        points_camera = transform_points(view.T_camera_lidar, frame.points)
        uv, depth, valid = view.camera.project(points_camera)
        u, v = np.rint(uv[valid]).astype(int).T
        t = (r.image_stamp_ns - drive_module._START_NS) / 1e9
        pose = r.T_odom_base_image @ day.camera.T_base_camera
        seen = trace(day.scene, t, day.camera.grid, pose)
        z = (day.camera.grid.directions[2].ravel() * seen.distance).reshape(seen.shape)[v, u]
        same = r.instances[v, u] == r.sweep.instance[valid]
        nearer = z < depth[valid] - 0.3
        agree, hidden, total = agree + same.sum(), hidden + (~same & nearer).sum(), total + len(u)
        wrong += (~same & ~nearer).sum()
    assert agree / total > 0.85
    assert 0.01 < hidden / total < 0.12  # true parallax
    assert wrong / total < 0.06  # outlines (one pixel is several centimetres) and ragged leaves


def test_the_vehicle_and_the_traffic_move_and_the_images_have_their_own_stamps(day: Drive) -> None:
    poses = [day.T_odom_base(0.5 * i) for i in range(40)]
    steps = np.array([np.linalg.norm(b[:3, 3] - a[:3, 3]) for a, b in pairwise(poses)])
    assert steps.min() > 2.0 and steps.max() < 6.0  # 4 to 12 m/s
    headings = np.array([np.arctan2(T[1, 0], T[0, 0]) for T in poses])
    assert np.ptp(headings) > 0.15
    for T in poses:
        np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-12)
    frame = day.frame(5)
    view = frame.views[0]
    assert 10e6 < view.stamp_ns - frame.stamp_ns < 35e6
    static = invert(day.camera.T_base_camera) @ day.lidar.T_base_lidar
    moved = (view.T_camera_lidar - static)[:3, 3]
    assert 0.05 < np.linalg.norm(moved) < 0.4  # metres driven between the two stamps
    traffic = day.scene.traffic
    speeds = np.linalg.norm(traffic.poses(3.0)[:, :2] - traffic.poses(2.0)[:, :2], axis=1)
    assert len(traffic) == len(speeds)
    assert ((speeds > 0.5) & (speeds < 2)).sum() > 20 and (speeds > 4).sum() > 5  # pedestrians and vehicles


def test_the_ego_vehicle_meets_nothing(day: Drive) -> None:
    for index in range(0, 40, 6):
        sweep = day.record(index).sweep
        base = transform_points(day.lidar.T_base_lidar, sweep.points)
        body = (np.abs(base[:, 0]) < 2.2) & (np.abs(base[:, 1]) < 0.9) & (base[:, 2] > 0.3) & (base[:, 2] < 1.7)
        assert not body.any()


def test_shifts_change_what_they_document(day: Drive) -> None:
    source = day.frame(0)
    night, other_lidar, new_city = (Drive(d, 4, 4).frame(0) for d in ("night", "other_lidar", "new_city"))
    assert night.views[0].image.mean() < 0.45 * source.views[0].image.mean()
    assert len(other_lidar.points) < 0.55 * len(source.points)
    assert other_lidar.views[0].camera.K[0, 0] != source.views[0].camera.K[0, 0]
    assert Drive("new_city", 4, 2).scene.lane > 0 > day.scene.lane
    assert new_city.views[0].image.mean() > 60
    both = Drive("other_lidar+night", 4, 2)
    assert both.domain.night and both.domain.lidar == Domain.parse("other_lidar").lidar
    assert Domain.parse("night+other_lidar").camera == Domain.parse("other_lidar+night").camera


def test_dust_in_the_air_takes_contrast_and_woods_are_dense() -> None:
    city = Domain.parse("new_city")
    dusty, clear = (
        Drive(replace(city, looks=replace(city.looks, visibility=visibility)), 4, 4).frame(0).views[0].image
        for visibility in (city.looks.visibility, 260.0)
    )
    far = slice(100, 130)  # rows about the horizon
    assert dusty[far].astype(float).std() < 0.9 * clear[far].astype(float).std()
    day = Domain.parse("day")
    woods, parks = (
        np.count_nonzero(
            np.isin(Drive(replace(day, looks=replace(day.looks, blocks={kind: 1.0})), 4, 4).record(0).sweep.class_id, 4)
        )
        for kind in ("woods", "park")
    )
    assert woods > 1.3 * parks


def _ranges(sweep: Sweep, class_id: int) -> np.ndarray:
    return np.linalg.norm(sweep.points[sweep.class_id == class_id], axis=1)


def test_rain_wets_the_ground_and_weakens_the_lidar(day: Drive) -> None:
    rain = Drive("rain", seed=4, frames=40, period=0.5)
    wet, dry = rain.record(2), day.record(2)
    drops = wet.sweep.class_id == 255
    assert 0.003 < drops.mean() < 0.02 and not (dry.sweep.class_id == 255).any()
    assert np.linalg.norm(wet.sweep.points[drops], axis=1).max() < 8.5 and (wet.sweep.instance[drops] == 0).all()
    ranges = [_ranges(r.sweep, ROAD) for r in (wet, dry)]
    assert np.quantile(ranges[0], 0.99) < 0.85 * np.quantile(ranges[1], 0.99)
    road, grass = (
        np.divide(*(np.count_nonzero(np.abs(_ranges(r.sweep, class_id) - 27) < 5) for r in (wet, dry)))
        for class_id in (ROAD, TERRAIN)
    )
    assert road < 0.7 and grass > 0.9  # asphalt mirrors, grass does not
    images = [drive.frame(2).views[0].image.astype(float) for drive in (rain, day)]
    assert np.ptp(images[0].mean((0, 1))) < np.ptp(images[1].mean((0, 1)))  # grey


def test_kerbs_of_varied_streets_are_often_flush_and_far_dark_ground_returns_nothing() -> None:
    drives = [Drive("varied", seed, 4, 1.0) for seed in range(4)]
    flush = []
    for drive in drives:
        street = drive.scene.street
        x = np.arange(street.start + 5, street.end - 5, 1.0)
        for side, sign in ((0, -1), (1, 1)):
            flush.append(street.height(*street.place(x, sign * (street.verge_end(x, side) + 0.3))[:2]) < 0.03)
    assert 0.2 < np.concatenate(flush).mean() < 0.9
    sweep = drives[0].record(0).sweep
    ranges = np.linalg.norm(sweep.points, axis=1)
    assert ranges[sweep.class_id == ROAD].max() < ranges.max() - 5


def test_a_wrong_calibration_is_what_the_bag_says() -> None:
    right, wrong = (Drive(name, 4, 4, 0.5) for name in ("day", "miscalibrated"))
    a, b = right.frame(1), wrong.frame(1)
    assert equal(a.points, b.points) and a.views[0].stamp_ns == b.views[0].stamp_ns
    assert not equal(a.views[0].image, b.views[0].image)  # of another time
    error = invert(right.T_base_camera) @ wrong.T_base_camera
    angle = np.degrees(np.arccos((np.trace(error[:3, :3]) - 1) / 2))
    assert angle == pytest.approx(0.5, abs=1e-6) and np.linalg.norm(error[:3, 3]) == pytest.approx(0.03)
    np.testing.assert_allclose(b.views[0].T_camera_lidar, invert(error) @ a.views[0].T_camera_lidar, atol=1e-9)


def test_varied_drives_differ_in_sensors_and_town() -> None:
    drives = [Drive("varied", seed, 2, 1.0) for seed in range(6)]
    assert len({drive.domain.lidar for drive in drives}) == 6 and len({drive.domain.camera for drive in drives}) == 6
    widths = [2 * np.degrees(np.arctan(240 / drive.domain.camera.focal)) for drive in drives]
    assert all(50 <= width <= 120 for width in widths)
    assert all(16 <= drive.domain.lidar.beams <= 128 for drive in drives)
    assert Domain.parse("varied", 3) == Domain.parse("varied", 3) != Domain.parse("varied", 4)
    assert not any(drive.domain.night or drive.domain.rain or drive.scene.lane > 0 for drive in drives)
    frame = drives[0].frame(0)
    assert frame.T_base_lidar is not None and not equal(frame.T_base_lidar[:3, :3], np.eye(3))  # tilted


@pytest.mark.parametrize("name", ["dusk", "", "day+", "night,other_lidar"])
def test_unknown_domains_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="day, night, other_lidar, new_city, rain"):
        Drive(name, 0, 1)


def test_drives_of_no_length_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        frames("day", 0, 0)


def test_the_bag_holds_what_the_process_renders(tmp_path: Path) -> None:
    reader = pytest.importorskip("sam_adapt_ros.bags.reader")
    done: list[tuple[int, int]] = []
    render_drive("new_city", 9, 4, tmp_path / "town", progress=lambda *a: done.append(a))
    assert done == [(i, 4) for i in range(1, 5)]
    assert (tmp_path / "town" / "calibration.yaml").is_file()
    with reader.BagReader(tmp_path / "town", Config.load("town")) as bag:
        read = list(bag.frames())
    rendered = list(frames("new_city", 9, 4))
    assert [f.stamp_ns for f in read] == [f.stamp_ns for f in rendered]
    for a, b in zip(read, rendered, strict=True):
        assert a.frame_id == b.frame_id
        assert equal(a.points, b.points) and equal(a.ground_truth, b.ground_truth)
        assert a.instances is not None and equal(a.instances, b.instances)
        (x,), (y,) = a.views, b.views
        assert x.stamp_ns == y.stamp_ns and equal(x.image, y.image)
        assert equal(x.instances, y.instances)
        np.testing.assert_allclose(x.T_camera_lidar, y.T_camera_lidar, atol=1e-6)
        assert a.T_odom_lidar is not None and b.T_odom_lidar is not None
        np.testing.assert_allclose(a.T_odom_lidar, b.T_odom_lidar, atol=1e-6)
        np.testing.assert_allclose(x.camera.K, y.camera.K)


def test_an_existing_output_is_refused_and_an_interrupted_one_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_drive("day", 1, 2, tmp_path / "bag", progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    render_drive("day", 1, 1, tmp_path / "bag", storage="sqlite3")
    with pytest.raises(BagError, match="bag"):
        render_drive("day", 1, 1, tmp_path / "bag")
    render_drive("day", 1, 1, tmp_path / "bag", force=True)


def test_domains_are_the_documented_ones() -> None:
    assert DOMAINS == ("day", "night", "other_lidar", "new_city", "rain", "miscalibrated", "varied")
    assert [Domain.parse(d).name for d in DOMAINS] == list(DOMAINS)
