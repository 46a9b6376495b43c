import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.benchmarks.street import street
from sam_adapt_ros.pseudo_labels import EnhancementConfig, Refusal, enhance
from sam_adapt_ros.pseudo_labels.propagation_reference import enhance_by_definition

IGNORE = 255
LENIENT = {"min_points": 3, "min_purity": 0.8}  # so that frames of a few points say something
CONFIG = EnhancementConfig(**LENIENT)


def run(frame, **config):
    return enhance(*frame, EnhancementConfig(**{**LENIENT, **config}))


def assert_equals_definition(frame, config):
    before = [array.copy() for array in frame]
    result, expected = enhance(*frame, config), enhance_by_definition(*frame, config)
    np.testing.assert_array_equal(result.labels, expected.labels)
    assert result.masks == expected.masks
    for array, copy in zip(frame, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def frame_of(points, labels, masks, areas):
    points = np.array(points, np.float32).reshape(-1, 3)
    membership = np.array(masks, bool).reshape(-1, len(points))
    return points, np.array(labels, np.uint8), membership, np.array(areas)


# Frames -------------------------------------------------------------------------------------------------------------

# On a lattice, distances tie and meet the radii exactly.
lattice = st.integers(-30, 30).map(lambda i: i * 0.25)
anywhere = st.floats(-60, 60, width=32)
few = st.integers(0, 1).map(float)  # duplicates, and points at the LiDAR's origin
far = st.sampled_from([0.0, 1e-40, 1e-3, 7e4, 7e4 + 1, -3e6, 2e30, -2e30])
label = st.sampled_from([0, 0, 0, 1, 2, 254, IGNORE, IGNORE, IGNORE])


@st.composite
def frames(draw):
    coordinate = draw(st.sampled_from([lattice, anywhere, few, far]))
    size = draw(st.integers(0, 40))
    points = draw(st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=size, max_size=size))
    if points:  # duplicates, and dense clusters about some of the points
        for index, offset in draw(
            st.lists(st.tuples(st.integers(0, size - 1), st.floats(0, 2, width=16)), max_size=40)
        ):
            x, y, z = points[index]
            points.append((x + offset, y, z))
    size = len(points)
    labels = draw(st.one_of(st.lists(label, min_size=size, max_size=size), st.just([IGNORE] * size)))
    rows = st.one_of(
        st.lists(st.booleans(), min_size=size, max_size=size), st.just([True] * size), st.just([False] * size)
    )
    masks = draw(st.lists(rows, max_size=5))
    for row in draw(st.lists(st.sampled_from(masks), max_size=3)) if masks else []:
        keep = draw(st.integers(0, max(size, 1)))
        masks.append([inside and n < keep for n, inside in enumerate(row)])  # nested, or identical
    area, kinds = draw(
        st.sampled_from(
            [
                (st.integers(0, 4), [np.int64, np.float32, np.float64, np.uint16]),
                (st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 0.25, 1e-300, 1e300, np.inf]), [np.float64]),
            ]
        )
    )
    areas = draw(st.lists(area, min_size=len(masks), max_size=len(masks)))
    areas = np.array(areas, draw(st.sampled_from(kinds)))
    points = np.array(points, np.float32).reshape(-1, 3)
    return points, np.array(labels, np.uint8), np.array(masks, bool).reshape(len(masks), size), areas


@st.composite
def configs(draw):
    return EnhancementConfig(
        min_points=draw(st.sampled_from([1, 3, 5])),
        min_purity=draw(st.sampled_from([0.0, 0.5, 0.8, 1.0])),
        min_representativity=draw(st.sampled_from([0.0, 0.05, 0.5, 1.0])),
        radius_per_metre=draw(st.sampled_from([0.0, 0.05, 0.125, 1.0, 1e3])),
        min_radius=draw(st.sampled_from([0.25, 0.3, 0.5, 1e-5, 1e-300])),
        max_radius=draw(st.sampled_from([0.5, 1.0, 2.0, 50.0, 1e300])),
        relabel=draw(st.booleans()),
        propagation=draw(st.sampled_from(["gapp", "gapp", "gapp", "direct", "none"])),
    )


@given(frames(), configs())
@settings(max_examples=250, deadline=None)
def test_equals_the_definition(frame, config):
    assert_equals_definition(frame, config)


@pytest.mark.parametrize("relabel", [True, False])
@pytest.mark.parametrize("seed", range(2))
def test_equals_the_definition_on_a_street(seed, relabel):
    scene = street(700, 60, seed, beams=16, coverage=0.3)
    assert_equals_definition(
        (scene.points, scene.labels, scene.membership, scene.areas), EnhancementConfig(**LENIENT, relabel=relabel)
    )


@given(st.integers(0, 2**32), st.booleans(), st.sampled_from([1, 2**0.5, 3**0.5, 2]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_equals_the_definition_where_cliques_are_small_and_close(seed, tied, steps, relabel):
    """Few seeds in a crowd. Either neighbours' distances are the radius exactly, or radii differ a lot."""
    rng = np.random.default_rng(seed)
    points = (rng.integers(0, 7, (60, 3)) / 4 if tied else rng.uniform(0, 3, (60, 3))).astype(np.float32)
    labels = rng.choice([0, 1, IGNORE], 60, p=[0.1, 0.1, 0.8]).astype(np.uint8)
    membership = rng.random((5, 60)) < 0.7
    rule = (0.0, steps / 4, steps / 4) if tied else (0.2 * steps, 1e-3, 1e3)
    config = EnhancementConfig(
        **dict(zip(("radius_per_metre", "min_radius", "max_radius"), rule, strict=True)),
        **{"min_points": 1, "min_purity": 0.3, "min_representativity": 0, "relabel": relabel},
    )
    assert_equals_definition((points, labels, membership, np.arange(5)), config)


@given(frames(), configs(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_the_points_changes_nothing(frame, config, random):
    points, labels, membership, areas = frame
    order = np.array(random.sample(range(len(points)), len(points)), int)
    result = enhance(*frame, config)
    shuffled = enhance(points[order], labels[order], membership[:, order], areas, config)
    np.testing.assert_array_equal(shuffled.labels, result.labels[order])
    assert shuffled.masks == result.masks


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: np.repeat(a, 2, 0)[::2], lambda a: a[::-1][::-1]])
def test_the_layout_of_the_arrays_changes_nothing(layout):
    scene = street(700, 40, 3, beams=16)
    frame = scene.points, scene.labels, scene.membership, scene.areas
    expected, result = enhance(*frame, CONFIG), enhance(*map(layout, frame), CONFIG)
    np.testing.assert_array_equal(result.labels, expected.labels)
    assert result.masks == expected.masks


@given(frames(), configs())
@settings(max_examples=100, deadline=None)
def test_counts_are_those_of_the_labels(frame, config):
    points, labels, membership, areas = frame
    result = enhance(*frame, config)
    order = sorted(range(len(areas)), key=lambda m: (-areas[m].item(), m))
    for m in order:  # replay: what the masks up to this one leave
        record = result.masks[m]
        carried = labels[membership[m]]
        assert record.points == len(carried)
        assert record.labelled_before == (carried != IGNORE).sum()
        assert (record.label is None) != (record.reason is None)
        labels = enhance(points, labels, membership[m : m + 1], areas[m : m + 1], config).labels
        carried = labels[membership[m]]
        assert record.labelled_after == (carried != IGNORE).sum()
        if record.label is not None:
            assert record.agreeing_after == (carried == record.label).sum()
    np.testing.assert_array_equal(labels, result.labels)


# Each rule on its own: every one of these fails when the rule is changed --------------------------------------------

LINE = [[10, 0.4 * i, 0] for i in range(6)]  # neighbours 0.4 m apart at 10 m, where rho is 0.5 m


def test_large_masks_come_first():
    everything, half = [1] * 6, [0, 0, 0, 1, 1, 1]
    labels = [0, 0, 0, 0, 1, IGNORE]
    frame = frame_of(LINE, labels, [half, everything], [1, 2])
    result = run(frame, min_points=2, min_purity=0.8)
    assert result.masks[1].label == 0 and result.masks[0].label == 0
    assert (result.labels == 0).all()  # the half alone would be too impure
    alone = run(frame_of(LINE, labels, [half], [1]), min_points=2, min_purity=0.8)
    assert alone.masks[0].reason is Refusal.PURITY


@pytest.mark.parametrize(("order", "expected"), [((0, 1), 0), ((1, 0), 1)])
def test_of_equal_areas_the_lower_index_comes_first(order, expected):
    """Each mask alone is pure, in its own class; the one that comes first relabels the other's point."""
    masks = np.array([[1, 1, 1, 1, 0], [0, 0, 1, 1, 1]])[list(order)]
    frame = frame_of(LINE[:5], [0, 0, IGNORE, 1, 1], masks, [5, 5])
    result = run(frame, min_points=1, min_purity=0.6)
    assert result.labels[2] == expected


def test_of_equal_votes_the_lower_class_wins():
    result = run(frame_of(LINE[:4], [3, 3, 1, 1], [[1] * 4], [1]), min_purity=0.5)
    assert result.masks[0].label == 1


def test_size():
    frame = frame_of(LINE, [0, 0, *[IGNORE] * 4], [[1] * 6], [1])
    assert run(frame, min_points=3).masks[0].reason is Refusal.SIZE
    assert run(frame, min_points=2).masks[0].label == 0


def test_purity():
    frame = frame_of(LINE, [0, 0, 0, 0, 1, IGNORE], [[1] * 6], [1])  # exactly 0.8
    assert run(frame, min_purity=0.81).masks[0].reason is Refusal.PURITY
    assert run(frame, min_purity=0.8).masks[0].label == 0


def test_representativity():
    frame = frame_of(LINE, [0, 0, 0, *[IGNORE] * 3], [[1] * 6], [1])  # exactly 0.5
    assert run(frame, min_representativity=0.51).masks[0].reason is Refusal.REPRESENTATIVITY
    assert run(frame, min_representativity=0.5).masks[0].label == 0
    frame = frame_of(LINE, [0, 0, 0, 0, 1, IGNORE], [[1] * 6], [1])  # labelled, whatever the class: 5 of 6
    assert run(frame, min_representativity=0.8).masks[0].label == 0


def test_constraints_are_looked_at_in_their_order():
    frame = frame_of(LINE, [0, 1, *[IGNORE] * 4], [[1] * 6], [1])
    strict = {"min_purity": 1.0, "min_representativity": 1.0}
    assert run(frame, min_points=3, **strict).masks[0].reason is Refusal.SIZE
    assert run(frame, min_points=2, **strict).masks[0].reason is Refusal.PURITY


def test_the_label_walks_along_the_surface_and_stops_at_the_gap():
    behind = [[14, 0.4 * i, 0] for i in range(6)]  # seen through the same mask
    labels = [0, 0, 0, *[IGNORE] * 9]
    frame = frame_of(LINE + behind, labels, [[1] * 12], [1])
    np.testing.assert_array_equal(run(frame).labels, [0] * 6 + [IGNORE] * 6)
    np.testing.assert_array_equal(run(frame, propagation="direct").labels, [0] * 12)
    np.testing.assert_array_equal(run(frame, propagation="none").labels, labels)


def two_points(near, distance):
    """A seed and an unlabelled point along one ray, the nearer one at range ``near``; three seeds to please size."""
    return frame_of([[near, 0, 0]] * 3 + [[near + distance, 0, 0]], [0, 0, 0, IGNORE], [[1] * 4], [1])


@pytest.mark.parametrize(
    ("near", "distance", "joins"),
    [
        (16, 1.0, True),  # rho = 1/16 of the nearer point's range: exactly 1
        (16, 1.0 - 2**-12, True),
        (16, 1.0 + 2**-12, False),
        (16, 1.0 + 2**-18, False),
        (16, 1.03125, False),  # the farther one's range would allow 1.064
        (2, 0.25, True),  # clipped up
        (2, 0.25 + 2**-20, False),
        (40, 2.0, True),  # clipped down: 2.5 otherwise
        (40, 2.25, False),
    ],
)
def test_radius_rule(near, distance, joins):
    rule = {"radius_per_metre": 0.0625, "min_radius": 0.25, "max_radius": 2.0}
    assert (run(two_points(near, distance), **rule).labels[3] == 0) == joins
    reverse = frame_of(  # the seed is the farther one
        [[near + distance, 0, 0]] * 3 + [[near, 0, 0]], [0, 0, 0, IGNORE], [[1] * 4], [1]
    )
    assert (run(reverse, **rule).labels[3] == 0) == joins


def test_a_farther_seed_may_reach_further_than_the_nearest():
    points = [[16, 0, 0]] * 3 + [[14.75, 0, 0], [17, 1.1, 0]]  # rho(3, 0) = 0.92 < 1.25
    points = [*points[:4], [16, 0, 0.99]]  # joins, at 0.99 <= 1
    frame = frame_of(points, [0, 0, 0, IGNORE, IGNORE], [[1] * 5], [1])
    np.testing.assert_array_equal(run(frame, radius_per_metre=0.0625).labels, [0, 0, 0, IGNORE, 0])
    seeds = [[10, 0, 0]] * 2 + [[11.1, 0.11, 0]]
    point = [10.53, 0, 0.0]  # 0.53 from the first two (rho 0.5), 0.58 from the third (rho 0.5265): refused by both
    assert run(frame_of([*seeds, point], [0, 0, 0, IGNORE], [[1] * 4], [1])).labels[3] == IGNORE
    seeds = [[10, 0, 0]] * 2 + [[11.05, 0, 0]]  # the third at 0.52, within 0.5265
    point = [10.53, 0, 0.0]
    nearest_is_first = [[10.02, 0, 0]] * 2 + [[11.05, 0, 0]]  # at 0.51 > 0.501, but the third reaches
    assert run(frame_of([*seeds, point], [0, 0, 0, IGNORE], [[1] * 4], [1])).labels[3] == 0
    assert run(frame_of([*nearest_is_first, point], [0, 0, 0, IGNORE], [[1] * 4], [1])).labels[3] == 0


def test_other_classes_are_relabelled_or_kept():
    frame = frame_of(LINE, [0, 0, 0, 0, 1, IGNORE], [[1] * 6], [1])
    np.testing.assert_array_equal(run(frame).labels, [0] * 6)
    # Kept, and not a bridge: the last point is 0.8 m from the nearest seed.
    np.testing.assert_array_equal(run(frame, relabel=False).labels, [0, 0, 0, 0, 1, IGNORE])
    np.testing.assert_array_equal(run(frame, relabel=False, propagation="direct").labels, [0, 0, 0, 0, 1, 0])


def test_labels_do_not_leave_the_mask():
    frame = frame_of(LINE, [0, 0, 0, *[IGNORE] * 3], [[1, 1, 1, 1, 0, 1]], [1])
    np.testing.assert_array_equal(run(frame).labels, [0, 0, 0, 0, IGNORE, IGNORE])


def test_a_nested_mask_is_visited_anew_when_labels_changed_between():
    """The inner mask lies in the outer one of the same class, but a mask between brought a seed into reach."""
    points = [*LINE, [10, 3.0, 0], [10, 3.4, 0]]  # the last two out of the line's reach
    outer = [1] * 8
    bridge_class = [0, 0, 0, 0, 0, 0, 1, 1]
    labels = [0, 0, 0, 0, 0, 0, IGNORE, IGNORE]
    frame = frame_of(
        [*points, *[[10, 3.8, 0]] * 3],
        [*labels, 0, 0, 0],
        [[*outer, 0, 0, 0], [*bridge_class, 1, 1, 1], [*bridge_class, 0, 0, 0]],
        [3, 2, 1],
    )
    assert_equals_definition(frame, EnhancementConfig(**LENIENT, min_representativity=0))
    assert (run(frame).labels == 0).all()


def test_a_nested_mask_of_another_class_is_visited_anew():
    line, behind = [[10, 0.4 * i, 0] for i in range(8)], [[16, 0.4 * i, 0] for i in range(3)]
    labels = [*[0] * 8, 1, 1, IGNORE]
    frame = frame_of(line + behind, labels, [[1] * 11, [0] * 8 + [1] * 3], [2, 1])
    result = run(frame, min_points=2)
    assert [mask.label for mask in result.masks] == [0, 1]
    np.testing.assert_array_equal(result.labels, [*[0] * 8, 1, 1, 1])


# Edges --------------------------------------------------------------------------------------------------------------


def test_nothing_in_nothing_out():
    result = enhance(np.zeros((0, 3), np.float32), np.zeros(0, np.uint8), np.zeros((0, 0), bool), np.zeros(0), CONFIG)
    assert result.labels.shape == (0,) and result.masks == ()
    result = run(frame_of(LINE, [0] * 6, np.zeros((0, 6)), []))
    assert (result.labels == 0).all()


def test_far_and_huge_coordinates_do_not_overflow():
    points = [[1e30, 0, 0]] * 3 + [[1e30, 1e25, 0], [2e6, 0, 0], [2e6, 0.5, 0]]
    frame = frame_of(points, [0, 0, 0, IGNORE, 0, IGNORE], [[1] * 6], [1])
    np.testing.assert_array_equal(run(frame).labels, [0, 0, 0, IGNORE, 0, 0])


def good():
    return {"points": np.zeros((4, 3), np.float32), "labels": np.zeros(4, np.uint8),
            "membership": np.ones((2, 4), bool), "areas": np.ones(2)}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points", np.zeros((4, 2), np.float32)),
        ("points", np.zeros((4, 3))),
        ("points", np.full((4, 3), np.nan, np.float32)),
        ("points", np.full((4, 3), np.inf, np.float32)),
        ("points", [[0, 0, 0]] * 4),
        ("labels", np.zeros(3, np.uint8)),
        ("labels", np.zeros(4, np.int64)),
        ("labels", None),
        ("membership", np.ones((2, 3), bool)),
        ("membership", np.ones((4,), bool)),
        ("membership", np.ones((2, 4), np.uint8)),
        ("areas", np.ones(3)),
        ("areas", np.ones((2, 1))),
        ("areas", np.array([1, np.nan])),
        ("areas", np.array(["1", "2"])),
    ],
)
def test_a_bad_argument_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name}:"):
        enhance(**(good() | {name: value}), config=CONFIG)


def test_radii_have_an_order_and_an_end():
    with pytest.raises(ValueError, match="min_radius"):
        EnhancementConfig(min_radius=3.0)
    with pytest.raises(ValueError, match="max_radius"):
        EnhancementConfig(max_radius=float("inf"))


def test_read_only_inputs():
    frame = good()
    for array in frame.values():
        array.flags.writeable = False
    enhance(**frame, config=CONFIG)


def test_a_label_goes_a_long_way():
    """20,000 points in a row, shuffled, one end labelled."""
    points = np.zeros((20_000, 3), np.float32)
    points[:, 0] = 5
    points[:, 1] = np.random.default_rng(0).permutation(20_000) * 0.05
    labels = np.where(points[:, 1] < 60, np.uint8(3), np.uint8(IGNORE))
    gap = np.abs(points[:, 1] - 700) < 1.1
    mask = np.stack([np.ones(20_000, bool), ~gap])
    assert (run((points, labels, mask[:1], np.ones(1))).labels == 3).all()
    np.testing.assert_array_equal(run((points, labels, mask[1:], np.ones(1))).labels == 3, ~gap & (points[:, 1] < 700))


@pytest.mark.parametrize("relabel", [True, False])
def test_equals_the_definition_in_a_crowded_space(relabel):
    """Points that fill a volume: each clique has many neighbours."""
    rng = np.random.default_rng(2)
    points = rng.uniform(-1, 1, (1500, 3)).astype(np.float32)
    labels = np.where(rng.random(1500) < 0.02, rng.choice([0, 0, 0, 0, 1], 1500), IGNORE).astype(np.uint8)
    membership = np.stack([np.linalg.norm(points - centre, axis=1) < 0.9 for centre in rng.uniform(-1, 1, (12, 3))])
    config = EnhancementConfig(min_points=1, min_purity=0.5, min_representativity=0, min_radius=0.2, relabel=relabel)
    assert_equals_definition((points, labels, membership, membership.sum(1)), config)
