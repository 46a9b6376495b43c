import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.benchmarks.street import street
from sam_adapt_ros.pseudo_labels import EnhancementConfig, enhance
from sam_adapt_ros.pseudo_labels import geometry_aware_progressive_propagation as gapp
from sam_adapt_ros.pseudo_labels.propagation_reference import norm, rho

RULES = [(0.05, 0.3, 2.0), (0.0, 0.25, 0.25), (1.0, 1e-300, 1e300), (0.125, 1e-5, 50.0)]
coordinate = st.sampled_from([0.0, 0.25, 0.5, -0.25, 3.0, 40.0, 1e-40, -3e6, 2e30])


def touching(points, rule):
    """(N, N) whether two points are within rho of each other, by the definition."""
    config = EnhancementConfig(radius_per_metre=rule[0], min_radius=rule[1], max_radius=rule[2])
    x = points.astype(np.float64)
    return norm(x[:, None] - x) <= rho(x[:, None], x, config)


def assert_sound(points, rule):
    """All pairs within a clique touch, and cliques and blocks of which any points touch are within reach."""
    cliques = gapp.find_cliques(points, *rule)
    np.testing.assert_array_equal(np.sort(cliques.order), np.arange(len(points)))
    for clique in range(len(cliques.bounds)):
        members = cliques.order[cliques.start[clique] : cliques.start[clique + 1]]
        assert len(members) and (cliques.of_point[members] == clique).all()
    touches, of_point = touching(points, rule), cliques.of_point
    assert touches[of_point[:, None] == of_point].all()
    for n, s in np.argwhere(touches):
        assert gapp._within_reach(cliques.bounds, of_point[n], cliques.bounds, of_point[s])
        assert gapp._within_reach(cliques.bounds, of_point[n], cliques.blocks, of_point[s] // cliques.step)


@given(st.lists(st.tuples(coordinate, coordinate, coordinate), max_size=40), st.sampled_from(RULES))
@settings(max_examples=150, deadline=None)
def test_cliques_are_sound(points, rule):
    assert_sound(np.array(points, np.float32).reshape(-1, 3), rule)


@pytest.mark.parametrize("rule", RULES)
def test_cliques_of_a_street_are_sound(rule):
    assert_sound(street(400, 1, 1, beams=16).points, rule)


def test_infinite_radii_make_one_clique():
    points = np.array([[0, 0, 0], [1e30, 0, 0], [0, -1e30, 5]], np.float32)
    assert len(gapp.find_cliques(points, 0.0, np.inf, np.inf).bounds) == 1


def test_distances_are_rounded_as_the_definition_rounds_them():
    """A radius that is exactly the distance of two points, and the next smaller number: fused operations differ."""
    rng = np.random.default_rng(0)
    for a, b in rng.uniform(-30, 30, (400, 2, 3)).astype(np.float32):
        distance = float(norm(a.astype(np.float64) - b.astype(np.float64)))
        for radius, joins in ((distance, True), (np.nextafter(distance, 0), False)):
            config = EnhancementConfig(
                min_points=1, min_representativity=0, radius_per_metre=0, min_radius=radius, max_radius=radius
            )
            labels, mask = np.array([4, 255], np.uint8), np.ones((1, 2), bool)
            assert (enhance(np.stack([a, b]), labels, mask, np.ones(1), config).labels[1] == 4) == joins


def test_ranges_are_rounded_as_the_definition_rounds_them():
    rng = np.random.default_rng(1)
    points = rng.uniform(-30, 30, (400, 3)).astype(np.float32)
    f = gapp.find_cliques(points, 1.0, 1e-3, 1e3).f
    np.testing.assert_array_equal(f, norm(points.astype(np.float64)))


def test_numba_is_imported_where_it_is_needed_and_not_before():
    code = "import sys, sam_adapt_ros.pseudo_labels; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
