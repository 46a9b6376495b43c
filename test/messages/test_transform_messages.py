"""TF and odometry messages: what feeds the tree, what is left out, and that it is said."""

from __future__ import annotations

import pytest
from numpy.testing import assert_allclose

from sam_adapt_ros.errors import CalibrationError
from sam_adapt_ros.geometry import TransformTree, make_transform
from sam_adapt_ros.messages import TransformFeed
from sam_adapt_ros.notices import Notices

STAMP = 1_532_402_927_647_951_234
TURN = (0.0, 0.0, 0.1, 0.995)


class Fed:
    def __init__(self) -> None:
        self.logged: list[str] = []
        self.notices = Notices(self.logged.append)
        self.tree = TransformTree()
        self.feed = TransformFeed(self.tree, self.notices)


def test_tf_and_odometry_feed_the_same_tree(ros):
    fed = Fed()
    assert fed.feed.tf(ros.tf(("base_link", "/lidar", 0, (1, 2, 3), TURN)), static=True) == 0
    assert fed.feed.tf(ros.tf(("map", "odom", STAMP, (4, 5, 6), TURN)), static=False) == 0
    assert fed.feed.odometry(ros.odometry("odom", "base_link", STAMP, (7, 8, 9), TURN)) == 0
    lidar = make_transform((7, 8, 9), TURN) @ make_transform((1, 2, 3), TURN)
    assert_allclose(fed.tree.lookup("odom", "lidar", STAMP), lidar)
    assert_allclose(fed.tree.lookup("map", "lidar", STAMP), make_transform((4, 5, 6), TURN) @ lidar)
    assert not fed.logged


@pytest.mark.parametrize("tf_first", [True, False])
@pytest.mark.parametrize("parent", ["odom", "map"])
def test_tf_is_the_authority_on_a_frame_that_it_knows(ros, tf_first, parent):
    """Odometry of the same frame may be of another origin: the two are not mixed."""
    fed = Fed()

    def odometry():
        for k in range(3):
            assert fed.feed.odometry(ros.odometry("odom", "base_link", STAMP + k, (7, 8, 9), TURN)) == 0

    def tf():
        fed.feed.tf(ros.tf((parent, "base_link", STAMP + 1, (4, 5, 6), TURN)), static=False)

    for take in (tf, odometry) if tf_first else (odometry, tf):
        take()
    assert_allclose(fed.tree.lookup(parent, "base_link", STAMP + 1), make_transform((4, 5, 6), TURN))
    with pytest.raises(CalibrationError):
        fed.tree.lookup("odom", "base_link", STAMP)


FIXED, MOVED = make_transform((0.5, 0, 0.3), TURN), make_transform((7, 8, 9), TURN)


@pytest.mark.parametrize("odometry_first", [True, False])
def test_odometry_of_a_frame_that_tf_fixes_to_another_moves_both(ros, odometry_first):
    """As ``base_link`` on ``base_footprint``: TF tells where one is in the other, and nothing moves them."""
    fed = Fed()

    def odometry():
        assert fed.feed.odometry(ros.odometry("odom", "base_link", STAMP, (7, 8, 9), TURN)) == 0

    def tf():
        links = [("base_footprint", "base_link", 0, (0.5, 0, 0.3), TURN), ("base_link", "lidar", 0, (1, 2, 3), TURN)]
        assert fed.feed.tf(ros.tf(*links), static=True) == 0

    for take in (odometry, tf, odometry) if odometry_first else (tf, odometry):
        take()
    assert_allclose(fed.tree.lookup("odom", "base_link", STAMP), MOVED, atol=1e-9)
    assert_allclose(fed.tree.lookup("odom", "lidar", STAMP), MOVED @ make_transform((1, 2, 3), TURN), atol=1e-9)
    assert_allclose(fed.tree.lookup("base_footprint", "base_link", STAMP), FIXED)
    assert not fed.logged
    assert fed.feed.odometry(ros.odometry("odom", "base_link", STAMP, (7, 8, 9), (0, 0, 0, 0))) == 1
    assert len(fed.notices) == 1
    odometry()
    assert not len(fed.notices), "it is usable again"
    # Once TF moves the frame itself, it is the authority.
    fed.feed.tf(ros.tf(("odom", "base_footprint", STAMP, (4, 5, 6), TURN)), static=False)
    odometry()
    assert_allclose(fed.tree.lookup("odom", "base_footprint", STAMP), make_transform((4, 5, 6), TURN))


@pytest.mark.parametrize(
    "links",
    [
        [("odom", "base_link", 0, (0.5, 0, 0.3), TURN)],
        [("map", "odom", 0, (1, 2, 3), TURN), ("odom", "base_link", 0, (0.5, 0, 0.3), TURN)],
        [("map", "odom", 0, (0, 0, 0), (0, 0, 0, 1)), ("map", "base_link", 0, (0.5, 0, 0.3), TURN)],
    ],
)
def test_odometry_of_a_frame_that_tf_fixes_to_odometrys_own_is_of_no_use(ros, links):
    fed = Fed()
    fed.feed.tf(ros.tf(*links), static=True)
    assert fed.feed.odometry(ros.odometry("odom", "base_link", STAMP, (7, 8, 9), TURN)) == 0
    assert_allclose(fed.tree.lookup("odom", "base_link", STAMP), FIXED)
    assert not fed.logged


@pytest.mark.parametrize(
    "broken",
    [
        ("odom", "base_link", STAMP, (4, 5, 6), (0, 0, 0, 0)),
        ("odom", "base_link", 0, (4, 5, 6), TURN),
        ("", "base_link", STAMP, (4, 5, 6), TURN),
        ("map", "base_link", STAMP, (float("nan"), 5, 6), TURN),
    ],
)
def test_a_broken_transform_does_not_take_odometry_along(ros, broken):
    fed = Fed()
    assert fed.feed.odometry(ros.odometry("odom", "base_link", STAMP, (7, 8, 9), TURN)) == 0
    assert fed.feed.tf(ros.tf(broken), static=False) == 1
    assert_allclose(fed.tree.lookup("odom", "base_link", STAMP), MOVED)
    assert len(fed.logged) == 1


def test_one_broken_transform_does_not_take_the_others_along(ros):
    fed = Fed()
    good = ("base_link", "lidar", STAMP, (1, 2, 3), TURN)
    broken = [
        ("base_link", "a", STAMP, (1, 2, 3), (0, 0, 0, 0)),
        ("base_link", "b", STAMP, (float("nan"), 2, 3), TURN),
        ("", "c", STAMP, (1, 2, 3), TURN),
        ("base_link", "", STAMP, (1, 2, 3), TURN),
        ("base_link", "/base_link", STAMP, (1, 2, 3), TURN),
        ("base_link", "d", 0, (1, 2, 3), TURN),
    ]
    assert fed.feed.tf(ros.tf(*broken[:3], good, *broken[3:]), static=False) == 6
    assert fed.tree.frames() == ("base_link", "lidar")
    assert fed.feed.odometry(ros.odometry("odom", "base_link", STAMP, (0, 0, 0), (0, 0, 0, 0))) == 1
    assert fed.feed.odometry(ros.odometry("odom", "base_link", 0, (0, 0, 0), TURN)) == 1
    assert len(fed.notices) == 7, "a sentence for each frame"


def test_odometry_without_a_child_frame_is_said_once(ros):
    fed = Fed()
    for k in range(100):
        assert fed.feed.odometry(ros.odometry("odom", "", STAMP + k, (0, 0, 0), TURN), "/wheel/odom") == 1
    assert len(fed.logged) == 1
    (notice,) = fed.notices
    assert notice.startswith("/wheel/odom: 100 messages left out: child_frame_id is empty")


def test_what_was_unusable_for_a_moment_is_told_at_the_end(ros):
    fed = Fed()
    for stamp in (STAMP, 0, STAMP + 1):
        fed.feed.tf(ros.tf(("odom", "base_link", stamp, (0, 0, 0), TURN)), static=False)
        assert len(fed.notices) == (stamp == 0)
    fed.feed.conclude()
    (notice,) = fed.notices
    assert notice == "/tf: 1 messages left out: odom -> base_link: a stamp expected, got 0"


def test_frames_that_are_made_up_without_end_are_named_together(ros):
    fed = Fed()
    for k in range(500):
        assert fed.feed.odometry(ros.odometry("odom", f"body{k}", STAMP, (0, 0, 0), (0, 0, 0, 0))) == 1
    assert len(fed.notices) == len(fed.logged) == 21
    last = list(fed.notices)[-1]
    assert last.startswith("/odom: 480 messages left out: of further frames, the last odom -> body499")
    fed.feed.odometry(ros.odometry("odom", "body499", STAMP, (0, 0, 0), TURN))
    assert len(fed.notices) == 20
