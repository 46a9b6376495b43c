"""The segmenter and the weight store, without a node."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from node_support import save_weights
from weights_support import FRAME, ManagedSlot, collapsed, labels_of, promote, varied

from sam_adapt_ros.adaptation import Record, Version, WeightStore
from sam_adapt_ros.adaptation.weight_store.pointer import POINTER_FILE
from sam_adapt_ros.nodes.segmenter import weights_manager
from sam_adapt_ros.segmentation import weights as weights_files


def test_it_starts_with_the_version_in_use_and_loads_what_is_promoted(
    store: WeightStore, source: Path, make_managed: Callable[..., ManagedSlot]
) -> None:
    first = promote(store, varied(source, 1))
    managed = make_managed()
    assert managed.label() == [first.name]
    assert (managed.slot.swaps, managed.manager.problem) == (0, "")
    np.testing.assert_array_equal(managed.slot.current(FRAME).labels, labels_of(first.path))
    second = promote(store, varied(source, 2))
    managed.settle()
    assert managed.slot.name == first.name, "not in the middle of a frame"
    assert managed.label(40) == 40 * [second.name]
    assert managed.slot.swaps == 1
    report = managed.manager.report()
    assert (report["store_current"], report["running"], report["rollback_monitor"]) == (
        second.name,
        second.name,
        "trusted",
    )
    store.rollback()
    managed.settle()
    assert managed.label() == [first.name]
    store.rollback()
    managed.settle()
    assert managed.label(30)[-1] == store.source().name
    assert managed.manager.report()["rollback_monitor"] == "idle"
    np.testing.assert_array_equal(managed.slot.current(FRAME).labels, labels_of(source))
    assert managed.manager.rollbacks == 0, "others rolled back"


def test_a_store_may_come_into_being_later(
    folder: Path, source: Path, make_managed: Callable[..., ManagedSlot]
) -> None:
    managed = make_managed()
    managed.settle()
    assert managed.manager.problem == ""
    store = WeightStore(folder)
    store.initialize(source)
    managed.settle()
    assert managed.label() == [""]
    assert managed.slot.swaps == 0, "the source is in use already"
    version = promote(store, varied(source, 1))
    managed.settle()
    assert managed.label() == [version.name]


def test_a_store_of_another_source_is_ignored(
    folder: Path, source: Path, make_managed: Callable[..., ManagedSlot], tmp_path: Path
) -> None:
    foreign = WeightStore(folder)
    other = save_weights(tmp_path / "other.safetensors", seed=5)
    foreign.initialize(other)
    promote(foreign, varied(other, 1))
    managed = make_managed()
    for _ in range(2):
        assert managed.label() == [""]
        assert foreign.source().name in managed.manager.problem
        assert "is ignored" in managed.manager.problem
        promote(foreign, varied(other, 2))
        managed.settle()
    shutil.rmtree(folder)
    store = WeightStore(folder)
    store.initialize(source)
    version = promote(store, varied(source, 1))
    managed.settle()
    assert managed.label() == [version.name]
    assert managed.manager.problem == ""


def _truncate(version: Version) -> None:
    content = version.path.read_bytes()
    version.path.chmod(0o644)
    version.path.write_bytes(content[:-100])


def _flip(version: Version) -> None:
    content = bytearray(version.path.read_bytes())
    content[-40] ^= 1
    version.path.chmod(0o644)
    version.path.write_bytes(content)


def _exchange(version: Version) -> None:
    weights = varied(version.path, 77)
    version.path.unlink()
    weights_files.save(version.path, weights)


def _remove(version: Version) -> None:
    version.path.unlink()


def _garble_pointer(version: Version) -> None:
    (version.path.parent / POINTER_FILE).write_text("{")


@pytest.mark.parametrize("spoil", [_truncate, _flip, _exchange, _remove, _garble_pointer])
def test_damage_in_the_store_leaves_what_runs(
    spoil: Callable[[Version], None], store: WeightStore, source: Path, make_managed: Callable[..., ManagedSlot]
) -> None:
    good = promote(store, varied(source, 1))
    managed = make_managed()
    pointer = (store.folder / POINTER_FILE).read_bytes()
    bad = promote(store, varied(source, 2))
    spoil(bad)
    managed.settle()
    assert managed.label(10) == 10 * [good.name]
    assert str(store.folder) in managed.manager.problem
    # A restart takes the nearest that is whole.
    again = make_managed()
    assert again.label() == [good.name if spoil is not _garble_pointer else ""]
    assert str(store.folder) in again.manager.problem
    (store.folder / POINTER_FILE).write_bytes(pointer)
    for each in (managed, again):
        each.settle()
        assert each.label()[-1] == good.name
    best = promote(store, varied(source, 3))
    for each in (managed, again):
        each.settle()
        assert each.label() == [best.name]
        assert each.manager.problem == ""


def test_what_could_not_be_loaded_is_tried_again_when_the_pointer_changes(
    store: WeightStore, source: Path, make_managed: Callable[..., ManagedSlot]
) -> None:
    managed = make_managed()
    version = promote(store, varied(source, 1))
    content = version.path.read_bytes()
    _truncate(version)
    managed.settle()
    assert managed.label() == [""]
    version.path.write_bytes(content)
    managed.settle()
    assert managed.label() == [""], "one stat a poll: nothing has changed"
    os.utime(store.folder / POINTER_FILE)
    managed.settle()
    assert managed.label() == [version.name]
    assert managed.manager.problem == ""


def test_what_could_not_be_loaded_is_tried_again_after_a_while(
    store: WeightStore, source: Path, make_managed: Callable[..., ManagedSlot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the GPU's memory was somebody else's for a moment."""
    monkeypatch.setattr(weights_manager, "FIRST_RETRY_S", 0.2)
    managed = make_managed()
    version = promote(store, varied(source, 1))
    load, failures = managed.slot.load, [RuntimeError("out of memory"), RuntimeError("out of memory")]

    def fails_at_first(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        load(*arguments)

    monkeypatch.setattr(managed.slot, "load", fails_at_first)
    managed.settle()
    managed.settle()
    assert managed.label() == [""]
    assert len(failures) == 1
    assert managed.manager.problem == f"{version.name}: out of memory"
    time.sleep(0.25)
    managed.settle()
    assert not failures
    assert managed.label() == [""]
    time.sleep(0.25)
    managed.settle()
    assert managed.label() == [""], "the second time it waits for longer"
    time.sleep(0.25)
    managed.settle()
    assert managed.label() == [version.name]
    assert managed.manager.problem == ""


def test_what_could_not_be_loaded_is_forgotten_when_it_is_taken_back(
    store: WeightStore, source: Path, make_managed: Callable[..., ManagedSlot]
) -> None:
    good = promote(store, varied(source, 1))
    managed = make_managed()
    _truncate(promote(store, varied(source, 2)))
    managed.settle()
    assert managed.manager.problem
    store.rollback()
    managed.settle()
    assert managed.label() == [good.name]
    assert managed.manager.problem == ""
    assert managed.manager.report()["store_current"] == good.name


@pytest.mark.parametrize("after_s", [60.0, -5.0])
def test_after_a_pause_or_where_a_bag_loops_weights_are_not_compared_with_frames_before_it(
    after_s: float, make_managed: Callable[..., ManagedSlot], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted = []
    managed = make_managed()
    monkeypatch.setattr(managed.manager._monitor, "interrupted", lambda: interrupted.append(True))
    managed.label(3)
    assert len(interrupted) == 1, "before the first"
    managed.label(after_s=after_s)
    assert len(interrupted) == 2
    managed.label(3)
    assert len(interrupted) == 2


def test_the_pointer_may_change_quickly(
    store: WeightStore, source: Path, make_managed: Callable[..., ManagedSlot]
) -> None:
    versions = [store.add(varied(source, seed), Record()) for seed in range(3)]
    expected = {version.name: labels_of(version.path) for version in (*versions, store.source())}
    expected[""] = expected[store.source().name]
    assert len({labels.tobytes() for labels in expected.values()}) == 4
    managed = make_managed()
    done = threading.Event()

    def change() -> None:
        rng = np.random.default_rng(0)
        for _ in range(60):
            store.promote(versions[rng.integers(3)])
            if rng.random() < 0.3 and store.pointer().previous:
                store.rollback()
            managed.manager.poll()
            time.sleep(0.05)
        done.set()

    thread = threading.Thread(target=change)
    thread.start()
    while not done.is_set():
        segmenter = managed.slot.take()
        prediction = segmenter(FRAME)
        np.testing.assert_array_equal(prediction.labels, expected[managed.slot.name])
        managed.manager.observe(prediction, 0)
    thread.join()
    managed.settle()
    assert managed.label()[-1] == store.current().name
    assert managed.slot.swaps > 1
    assert (managed.manager.rollbacks, managed.manager.problem) == (0, "")


# The rollback monitor ------------------------------------------------------------------------------------------------


def test_bad_weights_are_rolled_back(
    store: WeightStore, source: Path, make_managed: Callable[..., ManagedSlot], caplog: pytest.LogCaptureFixture
) -> None:
    good = promote(store, varied(source, 1))
    managed = make_managed()
    managed.label(25)
    bad = promote(store, collapsed(source))
    managed.settle()
    assert managed.label(6) == 6 * [bad.name]
    managed.settle(poll=False)
    assert store.current() == good
    assert "segmenter: one class everywhere" in store.pointer().reason
    (line,) = (record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)
    assert line.startswith(f"rolling back {bad.name}: one class everywhere in 2d")
    assert line.endswith(f"; {good.name} is in use again")
    assert managed.label(60) == 60 * [good.name]
    report = managed.manager.report()
    assert (report["rollbacks"], report["rollback_monitor"], report["running"]) == (1, "trusted", good.name)
    assert report["rolled_back"].startswith(f"{bad.name}: one class everywhere in 2d: 1.000")
    assert managed.manager.problem == ""
    # Promoted again, it is used again.
    store.promote(bad)
    managed.settle()
    assert managed.label(6) == 6 * [bad.name]
    managed.settle()
    assert store.current() == good
    assert managed.manager.rollbacks == 2


def test_other_settings_of_the_same_weights_are_not_compared_with_those_before(
    store: WeightStore, source: Path, make_managed: Callable[..., ManagedSlot]
) -> None:
    promote(store, varied(source, 1))
    managed = make_managed()
    managed.label(25)
    assert managed.manager.report()["rollback_monitor"] == "trusted"
    managed.manager.reconfigure(managed.manager._config.updated({"segmenter.fusion": "mean"}))
    managed.settle()
    managed.label()
    assert managed.manager.report()["rollback_monitor"] == "trial"
    managed.label(25)
    assert managed.manager.report()["rollback_monitor"] == "trusted"


def test_all_bad_ends_with_the_source(
    store: WeightStore, source: Path, make_managed: Callable[..., ManagedSlot]
) -> None:
    promote(store, collapsed(source, 1))
    promote(store, collapsed(source, 2))
    managed = make_managed()  # no frames before: a collapse is seen all the same
    for _ in range(3):
        managed.label(10)
        managed.settle()
    assert store.current() == store.source()
    assert managed.label(10) == 10 * [store.source().name]
    assert managed.manager.rollbacks == 2


def test_a_number_that_is_not_finite_is_rolled_back_with_the_first_frame(
    store: WeightStore, source: Path, make_managed: Callable[..., ManagedSlot]
) -> None:
    # The store takes no such weights: they overflow, or memory fails.
    promote(store, varied(source, 1))
    managed = make_managed()
    managed.slot.current.labelling.image.heads.classify.bias.fill_(float("nan"))
    managed.label(1)
    managed.settle(poll=False)
    assert managed.label() == [store.source().name]
    assert store.current() == store.source()
    assert "not finite" in store.pointer().reason


def test_two_segmenters_go_back_one_step_not_two(
    store: WeightStore, source: Path, make_managed: Callable[..., ManagedSlot]
) -> None:
    good = promote(store, varied(source, 1))
    segmenters = [make_managed(), make_managed()]
    for managed in segmenters:
        managed.label(25)
    promote(store, collapsed(source))
    for managed in segmenters:
        managed.settle()
    for managed in segmenters:
        managed.label(10)
    for managed in segmenters:
        managed.settle()
        assert managed.label() == [good.name]
    assert store.current() == good


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_store_that_cannot_be_written_does_not_keep_bad_weights_in_use(
    number: int,
    store: WeightStore,
    source: Path,
    make_managed: Callable[..., ManagedSlot],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = promote(store, varied(source, 1))
    managed = make_managed()
    managed.label(25)
    bad = promote(store, collapsed(source))
    managed.settle()
    real = os.open

    def refuse(path: object, flags: int, *arguments: int, **options: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and str(store.folder) in str(path):
            raise OSError(number, os.strerror(number))
        return real(path, flags, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        managed.label(10)
        managed.settle()
        assert managed.label(20) == 20 * [good.name]
        managed.settle()
        assert store.current() == bad
        assert (
            f"{bad.name} was rolled back to {good.name} here, but is still in use in the store"
            in managed.manager.problem
        )
        assert os.strerror(number) in managed.manager.problem
        os.utime(store.folder / POINTER_FILE)  # its time changes, its content does not
        managed.settle()
        assert managed.label() == [good.name]
        managed.manager._watcher.report_again()  # as when weights that could not be loaded are tried again
        managed.settle()
        assert managed.label() == [good.name]
    managed.settle()
    assert store.current() == good
    assert managed.manager.problem == ""
    assert managed.manager.rollbacks == 1
    best = promote(store, varied(source, 2))
    managed.settle()
    assert managed.label() == [best.name]


def test_without_a_pointer_it_goes_back_to_the_source(
    store: WeightStore, source: Path, make_managed: Callable[..., ManagedSlot]
) -> None:
    promote(store, collapsed(source))
    managed = make_managed()
    shutil.rmtree(store.folder)
    store.folder.write_text("no folder any more")
    managed.label(6)
    managed.settle()
    managed.label()
    np.testing.assert_array_equal(managed.slot.current(FRAME).labels, labels_of(source))
    assert managed.manager.problem
