from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from node_support import make_config, save_calibration, save_weights
from weights_support import ManagedSlot, promote, varied

from sam_adapt_ros.adaptation import WeightStore
from sam_adapt_ros.errors import WeightsError
from sam_adapt_ros.nodes.parameter_files import parameter_text
from sam_adapt_ros.nodes.segmenter import hot_swap
from sam_adapt_ros.nodes.segmenter.hot_swap import SegmenterSlot
from sam_adapt_ros.segmentation import Segmenter


def test_segmenters_are_exchanged_only_between_frames_and_only_for_weights_that_load(
    weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slot = SegmenterSlot(make_config(weights, Path(), ()))
    first = slot.take()
    other = make_config(save_weights(tmp_path / "other.safetensors", seed=3), Path(), ())
    slot.replace(other).result(30.0)
    assert slot.current is first, "not in the middle of a frame"
    second = slot.take()
    assert second.version != first.version
    assert (slot.swaps, slot.problem) == (1, "")
    data = bytearray(weights.read_bytes())
    data[-40] ^= 1
    (tmp_path / "flipped.safetensors").write_bytes(data)
    (tmp_path / "short.safetensors").write_bytes(weights.read_bytes()[:-1000])
    for name in ("flipped", "short", "none"):
        slot.replace(make_config(tmp_path / f"{name}.safetensors", Path(), ())).result(30.0)
        assert name in slot.problem
        assert f"new weights refused, {second.version} stays in use: " in caplog.messages[-1]
        assert slot.take() is second
    foreign = make_config(save_weights(tmp_path / "foreign.safetensors", taxonomy="nuscenes6"), Path(), (), taxonomy="")
    slot.replace(foreign).result(30.0)
    assert "classes" in slot.problem
    assert slot.take() is second
    with pytest.raises(WeightsError, match="taxonomy"):
        SegmenterSlot(make_config(tmp_path / "foreign.safetensors", Path(), ()))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_gpu_is_warmed_up_by_the_thread_that_labels(
    weights: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    slot = SegmenterSlot(make_config(weights, Path(), ()))
    calls: list[int] = []
    monkeypatch.setattr(slot.current, "device", torch.device(device))
    monkeypatch.setattr(slot.current, "warm_up", lambda: calls.append(threading.get_ident()))
    thread = threading.Thread(target=slot.prepare_thread)
    thread.start()
    thread.join()
    assert calls == ([thread.ident] if device == "cuda" else [])


def test_the_node_is_not_active_where_that_fails(weights: Path, tmp_path: Path) -> None:
    calibration = save_calibration(tmp_path / "calibration.yaml", ())
    (tmp_path / "parameters.yaml").write_text(parameter_text(make_config(weights, calibration, ()), {}))
    code = f"""
import threading
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.nodes import segmenter_node

def fail(slot):
    raise ConfigError(f"no memory for the {{threading.current_thread().name}} thread")

segmenter_node.SegmenterSlot.prepare_thread = fail
segmenter_node.main(["--ros-args", "--params-file", {str(tmp_path / "parameters.yaml")!r}])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60.0, check=False)
    assert "not activated, no sweep is labelled: no memory for the inference thread" in ran.stderr
    assert ran.returncode == os.EX_CONFIG, ran.stderr


def test_weights_that_a_gpu_has_no_memory_for_do_not_slow_down_the_labels(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = SegmenterSlot(make_config(weights, Path(), ()))
    first = slot.take()
    monkeypatch.setattr(first, "device", torch.device("cuda"))
    other = make_config(save_weights(tmp_path / "other.safetensors", seed=3), Path(), ())
    slot.replace(other).result(30.0)  # it would compute on the CPU
    assert "other.safetensors: cuda has no free memory" in slot.problem
    assert slot.take() is first


def test_the_exchange_is_short_and_old_weights_are_freed_elsewhere(
    store: WeightStore, source: Path, make_managed: Callable[..., ManagedSlot]
) -> None:
    managed = make_managed()
    held, freed_by = [], []
    for seed in range(8):
        weakref.finalize(managed.slot.current.network, lambda: freed_by.append(threading.get_ident()))
        promote(store, varied(source, seed))
        managed.settle()
        managed.label()
        held.append(managed.slot.swap_ms["last"])
        managed.settle()
    assert len(freed_by) == 8
    assert threading.get_ident() not in freed_by
    assert 0 < statistics.median(held) < 2.0  # 0.05 ms; other processes may take the core meanwhile
    assert managed.slot.swap_ms["max"] == max(held)


def test_loading_does_not_change_how_many_threads_the_model_has(source: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        slot = SegmenterSlot(make_config(source, Path(), (), **{"segmenter.threads": 3}))
        found: list[int] = []

        def infer() -> None:
            slot.take()
            found.append(torch.get_num_threads())

        real = Segmenter.warm_up

        def look(segmenter: Segmenter, points: int) -> None:
            found.append(torch.get_num_threads())
            # A thread that starts just now must not be left with one.
            thread = threading.Thread(target=infer)
            thread.start()
            thread.join()
            real(segmenter, points)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Segmenter, "warm_up", look)
            slot.replace(make_config(source, Path(), ())).result(60.0)
        assert slot.problem == ""
        assert found == [1, 3]
        assert torch.get_num_threads() == 3
        slot.close()
    finally:
        torch.set_num_threads(before)


def test_what_loads_has_low_priority_and_one_thread_and_waits_for_frames(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warm-up of an exchange stands still, layer by layer, while a frame is at work."""
    monkeypatch.setattr(hot_swap, "MAX_WAIT_S", 60.0)
    slot = SegmenterSlot(make_config(source, Path(), ()))
    in_warm_up, go_on = threading.Event(), threading.Event()
    seen: dict[str, object] = {}
    layers: list[float] = []
    real = Segmenter.warm_up

    def look(segmenter: Segmenter, points: int) -> None:
        task = threading.get_native_id()
        stat = Path(f"/proc/self/task/{task}/stat").read_text().rpartition(")")[2].split()
        seen["nice"], seen["threads"] = int(stat[16]), torch.get_num_threads()
        before = set(Path("/proc/self/task").iterdir())
        for layer in segmenter.labelling.modules():
            layer.register_forward_hook(lambda *_: layers.append(time.monotonic()))
        in_warm_up.set()
        go_on.wait(30.0)
        real(segmenter, points)
        seen["helpers"] = set(Path("/proc/self/task").iterdir()) - before

    monkeypatch.setattr(Segmenter, "warm_up", look)
    loading = slot.replace(make_config(source, Path(), ()))
    assert in_warm_up.wait(60.0)
    with slot.priority.frame():
        go_on.set()
        time.sleep(0.3)
        assert not layers
        assert not loading.done()
    loading.result(60.0)
    assert layers
    assert seen == {"nice": hot_swap.NICE, "threads": 1, "helpers": set()}
    assert slot.take() is not None
    assert slot.swaps == 1
    slot.close()


def test_loading_does_not_wait_for_ever(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_swap, "MAX_WAIT_S", 0.2)
    slot = SegmenterSlot(make_config(source, Path(), ()))
    with slot.priority.frame():
        slot.replace(make_config(source, Path(), ())).result(60.0)
    slot.take()
    assert slot.swaps == 1
    slot.close()


def test_a_full_collection_does_not_go_through_all_that_was_imported(source: Path) -> None:
    code = f"""
import gc
gc.freeze()  # as Python 3.12 does with what it has made when it starts
from sam_adapt_ros.nodes.segmenter.hot_swap import SegmenterSlot
from sam_adapt_ros.config import Config
slot = SegmenterSlot(Config.load("town", {{"segmenter.weights": {str(source)!r}}}))
print(len(gc.get_objects()), gc.get_freeze_count())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120.0)
    assert ran.returncode == 0, ran.stderr
    seen, frozen = map(int, ran.stdout.split())
    assert frozen > 100_000
    assert seen < frozen / 5
