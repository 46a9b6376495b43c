"""How many threads a frame is labelled by, and in which number format."""

import os
from collections.abc import Iterator

import pytest
import torch

from sam_adapt_ros.segmentation import device
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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auto", torch.float16),
        ("float16", torch.float16),
        ("bfloat16", torch.bfloat16),
        ("float32", torch.float32),
    ],
)
def test_number_format_on_cuda(name: str, expected: torch.dtype) -> None:
    assert device.choose_precision(name, torch.device("cuda")) == expected


@pytest.mark.parametrize(
    ("name", "has", "expected"),
    [
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
        ("bfloat16", False, torch.bfloat16),
        ("float32", True, torch.float32),
        ("float16", True, torch.float32),
    ],
)
def test_number_format_on_a_cpu(monkeypatch: pytest.MonkeyPatch, name: str, has: bool, expected: torch.dtype) -> None:
    monkeypatch.setattr(device, "has_bfloat16", lambda: has)
    assert device.choose_precision(name, torch.device("cpu")) == expected
