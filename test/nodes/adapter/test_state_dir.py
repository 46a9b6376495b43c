from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from adapter_support import adapter_config

from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.nodes.adapter import state_dir
from sam_adapt_ros.nodes.adapter.state_dir import StateDir


@pytest.fixture
def state(weights: Path, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StateDir]:
    monkeypatch.setattr(state_dir, "limit_training_thread", lambda *_: None)  # the tests keep their own priority
    state = StateDir(adapter_config(weights, calibration, tmp_path / "store"))
    yield state
    state.close()


def test_what_a_killed_process_left_is_removed(state: StateDir) -> None:
    state.folder.mkdir(parents=True)
    left = state.folder / ".training.safetensors.77-0.tmp"
    left.write_bytes(bytes(100))
    state.open()
    assert not left.exists()


def test_the_check_for_space_does_not_fill_the_disk(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    state.open()
    state.check_writable()
    assert not (state.folder / "write-check.tmp").exists()
    monkeypatch.setattr(state_dir, "write_atomically", Mock(side_effect=AssertionError))
    monkeypatch.setattr(os, "statvfs", lambda _: Mock(f_bavail=10, f_frsize=512))
    with pytest.raises(StoreError, match=r"No space left on device \(disk_full\)"):
        state.check_writable()
