"""How many threads a frame is labelled by, and in which number format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

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


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512_bf16 avx512f", True),
        ("flags\t\t: fpu amx_bf16 amx_tile", True),
        ("Features\t: fp asimd i8mm bf16 dgh", True),  # Armv8.6
        ("flags\t\t: fpu avx2 avx512f f16c", False),
        ("model name\t: bf16ish avx512_bf16x", False),
        (None, False),  # no such file
    ],
)
def test_bfloat16_is_seen_from_the_cpu_s_flags(
    monkeypatch: pytest.MonkeyPatch, flags: str | None, expected: bool
) -> None:
    def read(path: Path, **_: str) -> str:
        assert path == Path("/proc/cpuinfo")
        if flags is None:
            raise FileNotFoundError
        return f"processor\t: 0\n{flags}\n"

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert device.has_bfloat16.__wrapped__() == expected
