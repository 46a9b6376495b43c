import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.adaptation.buffer.spatial_split import SpatialSplit


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    share=st.sampled_from([0.1, 0.2, 1 / 3, 0.5]),
    gap=st.sampled_from([0.0, 1.0, 4.0]),
    step=st.floats(0.3, 6),
)
def test_held_out_places_are_never_nearer_than_the_gap_to_what_is_learned_from(seed, share, gap, step):
    """On a walk that crosses its own path, each position asked about one after the other."""
    rng = np.random.default_rng(seed)
    headings = np.cumsum(rng.normal(0, 0.3, 300))
    walk = np.cumsum(step * np.stack([np.cos(headings), np.sin(headings)], 1), 0)
    split = SpatialSplit(share, 10.0, gap, seed)
    kinds = [split.is_held_out(position) for position in walk]
    held_out = walk[[kind is True for kind in kinds]]
    learned = walk[[kind is False for kind in kinds]]
    if len(held_out) and len(learned):
        assert np.linalg.norm(held_out[:, None] - learned[None], axis=2).min() >= gap - 1e-9
    again = SpatialSplit(share, 10.0, gap, seed)
    assert [again.is_held_out(position) for position in walk] == kinds


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.1, 10), (0.2, 20), (0.5, 50)])
def test_the_share_of_places_is_what_was_asked_for(share, expected):
    split = SpatialSplit(share, 10.0, 0.0, seed=1)
    assert sum(bool(split.is_held_out(np.array([10.0 * i + 5, 0.0]))) for i in range(100)) == expected


def test_another_seed_holds_out_other_places():
    along = [np.array([10.0 * i + 5, 0.0]) for i in range(100)]
    chosen = [
        tuple(split.is_held_out(p) for p in along)
        for split in (SpatialSplit(0.2, 10.0, 0.0, 1), SpatialSplit(0.2, 10.0, 0.0, 2))
    ]
    assert chosen[0] != chosen[1]
