import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.masks.prompt_sampling import PromptSpread


def points_of(seed, count):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 100, (count, 2)).astype(np.float32), rng.uniform(1, 50, count).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 80), st.integers(1, 40))
def test_picks_are_those_of_the_slow_definition(seed, count, picks):
    """Each pick is the point whose nearest earlier pick is farthest away, and no point is picked twice."""
    uv, depth = points_of(seed, count)
    picked = PromptSpread(uv, depth, 100, 0.5).next(picks, np.ones(count, np.float32))
    assert len(picked) == len(set(picked.tolist())) == min(picks, count)
    place = np.column_stack([uv / 100, 0.5 * np.log(depth)]).astype(np.float64)
    for number in range(1, len(picked)):
        apart = np.linalg.norm(place[:, None] - place[picked[:number]], axis=2).min(axis=1)
        assert apart[picked[number]] >= apart.max() - 1e-5


@given(st.integers(0, 1000))
def test_batches_continue_one_sequence(seed):
    uv, depth = points_of(seed, 60)
    ones = np.ones(60, np.float32)
    spread = PromptSpread(uv, depth, 100, 0.5)
    batches = np.concatenate([spread.next(7, ones) for _ in range(3)])
    assert (batches == PromptSpread(uv, depth, 100, 0.5).next(21, ones)).all()


def test_depth_separates_what_the_image_does_not():
    uv = np.zeros((10, 2), np.float32)
    depth = np.array([5.0] * 9 + [30.0], np.float32)
    assert 9 in PromptSpread(uv, depth, 100, 0.5).next(2, np.ones(10, np.float32))
    assert len(PromptSpread(uv, depth, 100, 0.0).next(2, np.ones(10, np.float32))) == 1


def test_more_prompts_fall_where_the_weight_is_larger():
    uv, depth = points_of(0, 2000)
    left = uv[:, 0] < 50
    even = PromptSpread(uv, depth, 100, 0.5).next(60, np.ones(2000, np.float32))
    uneven = PromptSpread(uv, depth, 100, 0.5).next(60, np.where(left, 1, 0.3).astype(np.float32))
    assert 0.35 < left[even].mean() < 0.65
    assert left[uneven].mean() > left[even].mean() + 0.15


def test_no_points_no_prompts():
    assert len(PromptSpread(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), 100, 1.0).next(5, np.ones(0))) == 0
