from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.pipelines.evaluate import evaluate_bags
from sam_adapt_ros.progress import Progress


def test_bags_count_together_and_each_is_a_stage(night_bag: Path) -> None:
    reports: list[tuple[str, int, int]] = []

    @contextmanager
    def stages(title: str) -> Iterator[Progress]:
        yield lambda done, total: reports.append((title, done, total))

    config = Config.load("town")
    once, twice = evaluate_bags([night_bag], config), evaluate_bags([night_bag, night_bag], config, stages)
    assert (once.frames, twice.frames) == (3, 6)
    assert twice.miou() == pytest.approx(once.miou())
    assert reports == 2 * [("evaluating night", done, 3) for done in range(4)]


def test_bags_without_ground_truth_are_refused(night_bag: Path) -> None:
    with pytest.raises(BagError, match=r"night: no ground truth on /nothing"):
        evaluate_bags([night_bag], Config.load("town", {"ground_truth.topic": "/nothing"}))
