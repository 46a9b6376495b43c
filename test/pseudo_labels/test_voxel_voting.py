import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.pseudo_labels.selection import Candidates
from sam_adapt_ros.pseudo_labels.voxel_voting import vote


def slow_vote(points: list, found: list[Candidates], classes: int, cell: float) -> list[tuple[list, list]]:
    """By definition, cell by cell."""
    cells: dict[tuple, list[tuple[int, int]]] = {}
    for sweep, where in enumerate(points):
        if where is None:
            continue
        for row, point in enumerate(where):
            if found[sweep].labels[row] != IGNORE:
                key = tuple(np.floor(np.asarray(point, np.float64) / cell).astype(int))
                cells.setdefault(key, []).append((sweep, row))
    result = [(each.labels.tolist(), each.probability.tolist()) for each in found]
    for members in cells.values():
        if len({sweep for sweep, _ in members}) < 2:
            continue
        votes = [0.0] * classes
        voters = [0] * classes
        for sweep, row in members:
            votes[found[sweep].labels[row]] += float(found[sweep].probability[row])
            voters[found[sweep].labels[row]] += 1
        winner = int(np.argmax(votes))
        certainty = votes[winner] / voters[winner] * votes[winner] / sum(votes)
        for sweep, row in members:
            result[sweep][0][row], result[sweep][1][row] = winner, certainty
    return result


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), sweeps=st.integers(0, 4), unknown=st.floats(0, 1))
def test_votes_are_by_definition(seed: int, sweeps: int, unknown: float) -> None:
    rng = np.random.default_rng(seed)
    points: list = [rng.uniform(-1, 1, (rng.integers(0, 30), 3)).astype(np.float32) for _ in range(sweeps)]
    found = []
    for where in points:
        labels = rng.integers(0, 3, len(where)).astype(np.uint8)
        labels[rng.random(len(where)) < unknown] = IGNORE
        probability = rng.uniform(0.34, 1, len(where)).astype(np.float32)
        found.append(Candidates(labels, np.where(labels == IGNORE, 0, probability).astype(np.float32)))
    if sweeps > 2:
        points[1] = None
    expected = slow_vote(points, found, 3, 0.5)
    for (labels, probability), voted in zip(expected, vote(points, found, 3, 0.5), strict=True):
        np.testing.assert_array_equal(voted.labels, labels)
        np.testing.assert_allclose(voted.probability, probability, rtol=1e-5)


def test_inputs_are_left_as_they_are() -> None:
    points = [np.zeros((1, 3), np.float32)] * 2
    found = [Candidates(np.array([label], np.uint8), np.array([p], np.float32)) for label, p in ((0, 0.9), (1, 0.5))]
    voted = vote(points, found, 2, 0.2)
    assert [each.labels[0] for each in found] == [0, 1]
    assert [each.labels[0] for each in voted] == [0, 0]
