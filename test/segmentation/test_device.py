"""How many threads a frame is labelled by."""

import os
from collections.abc import Iterator

import pytest
import torch

from sam_adapt_ros.segmentation.device import choose_threads


@pytest.fixture(autouse=True)
def eight_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 1), (3, 1), (8, 4), (64, 8)])
def test_half_of_the_cores_are_left_to_others(monkeypatch: pytest.MonkeyPatch, cores: int, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert choose_threads(0) == expected
    assert choose_threads(3) == 3


def test_a_limit_that_is_set_already_holds() -> None:
    torch.set_num_threads(1)
    assert choose_threads(0) == 1
