import json
import time

import numpy as np
import pytest
import torch
from store_weights import make_weights

from sam_adapt_ros.adaptation import Record, StoreWatcher, WeightStore
from sam_adapt_ros.adaptation.weight_store.version import version_number
from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.io.lock import locked
from sam_adapt_ros.segmentation import weights as weights_files


@pytest.fixture
def store(tmp_path):
    store = WeightStore(tmp_path / "store", lock_timeout_s=2)
    store.initialize(make_weights(-1))
    return store


def add(store, seed, **record):
    return store.add(make_weights(seed), Record(**record))


def test_a_new_store_has_its_source_in_use(store):
    source = store.source()
    assert store.current() == source
    assert store.pointer().previous == ""
    assert source.name == f"v0000-{weights_files.load(source.path).version[:8]}.safetensors"
    assert store.verify() == []


def test_initialize_takes_the_same_source_twice_and_no_other(store, tmp_path):
    file = tmp_path / "shipped.safetensors"
    weights_files.save(file, make_weights(-1))
    promoted = store.promote(add(store, 1))
    assert store.initialize(file) == store.source()
    assert store.current() == promoted
    with pytest.raises(StoreError, match="choose another folder") as error:
        store.initialize(make_weights(-2))
    assert error.value.reason == "refused"


def test_initialize_refuses_a_damaged_source_by_name(tmp_path):
    file = tmp_path / "shipped.safetensors"
    file.write_bytes(b"nonsense")
    with pytest.raises(StoreError, match=r"shipped\.safetensors: not a safetensors file, or damaged"):
        WeightStore(tmp_path / "store").initialize(file)


def test_an_empty_folder_is_no_store_yet(tmp_path):
    store = WeightStore(tmp_path / "store")
    for look in (store.current, store.pointer, store.source, lambda: store.add(make_weights(1), Record())):
        with pytest.raises(StoreError, match=str(tmp_path)) as error:
            look()
        assert error.value.reason == "missing"
    assert store.versions() == ()
    assert len(store.verify()) == 1


def test_add_records_and_does_not_use(store):
    gate = {"miou": np.float32(0.5), "by_class": np.array([0.25, np.nan]), "passed": np.True_}
    version = add(store, 1, parent=store.source().name, recipe={"lr": 1e-4}, frames=40, gate=gate)
    assert store.current() == store.source()
    assert version_number(version.name) == 1
    record = store.get(version.name).record
    assert record.gate == {"miou": 0.5, "by_class": [0.25, None], "passed": True}
    assert (record.parent, record.recipe, record.frames) == (store.source().name, {"lr": 1e-4}, 40)
    assert record.size == version.path.stat().st_size
    assert record.created.endswith("+00:00")
    assert not version.path.stat().st_mode & 0o222
    torch.testing.assert_close(weights_files.load(version.path).state, make_weights(1).state)


def test_add_takes_weights_a_file_and_the_same_file_once(store, tmp_path):
    add(store, 1)
    file = tmp_path / "mine.safetensors"
    weights_files.save(file, make_weights(2))
    from_file = store.add(file, Record())
    assert store.add(file, Record()) == from_file
    assert file.exists()
    assert [version_number(version.name) for version in store.versions()] == [0, 1, 2]


def test_get_takes_the_beginning_of_a_name(store):
    assert store.get("v0000") == store.source()
    with pytest.raises(StoreError, match="no such version"):
        store.get("v0009")


def test_promotions_and_rollbacks(store):
    source, one, two, three = store.source(), *(add(store, seed) for seed in (1, 2, 3))
    for version, previous in ((one, source), (two, one), (three, two)):
        assert store.promote(version) == version
        assert (store.current(), store.pointer().previous) == (version, previous.name)
    assert store.promote(three) == three  # again: nothing happens
    assert store.pointer().previous == two.name
    assert store.rollback() == two
    assert store.rollback() == one
    assert store.rollback() == source
    with pytest.raises(StoreError, match="is the source") as error:
        store.rollback()
    assert error.value.reason == "refused"


def test_promoting_an_old_version_remembers_what_it_replaced(store):
    one, two = (store.promote(add(store, seed)) for seed in (1, 2))
    store.promote(one)
    assert store.pointer().previous == two.name
    assert store.rollback() == two
    assert store.pointer().previous == store.source().name


def test_promoting_the_source_starts_anew(store):
    store.promote(add(store, 1))
    store.promote(store.source(), reason="reset")
    assert store.pointer().previous == ""
    assert store.pointer().reason == "reset"


def test_two_who_see_one_fault_go_back_one_step(store):
    one, two = (store.promote(add(store, seed)) for seed in (1, 2))
    assert store.rollback(of=two) == one
    assert store.rollback(of=two.name) == one


def test_a_promotion_compared_with_what_is_no_longer_in_use_is_refused(store):
    one, two = (add(store, seed) for seed in (1, 2))
    store.promote(one, over=store.source())
    with pytest.raises(StoreError, match="compared with v0000-something") as error:
        store.promote(two, over="v0000-something")
    assert error.value.reason == "moved_on"
    assert store.current() == one


def test_rollback_passes_over_what_is_damaged(store, caplog):
    one, two, three = (store.promote(add(store, seed)) for seed in (1, 2, 3))
    two.path.chmod(0o644)
    whole = two.path.read_bytes()
    two.path.write_bytes(bytes([whole[0] ^ 0xFF]) + whole[1:])  # whatever its first byte was
    assert store.rollback() == one
    assert two.name in caplog.text
    assert any(two.name in problem for problem in store.verify())
    assert three in store.versions()


@pytest.mark.parametrize("keep", [0, 1, 2, 100])
def test_prune_spares_source_current_and_previous(store, keep):
    versions = [add(store, seed) for seed in range(8)]
    for version in versions[:4]:
        store.promote(version)
    removed = store.prune(keep)
    left = store.versions()
    expected = {store.source(), versions[2], versions[3], *versions[len(versions) - min(keep, 8) :]}
    assert set(left) == expected
    assert len(removed) == 9 - len(expected)
    assert not any((store.folder / name).with_suffix(".json").exists() for name in removed)
    assert store.verify() == []
    assert store.rollback() == versions[2]
    assert store.verify() == []  # the one before is not a version that was pruned
    while store.rollback() != store.source():
        assert store.verify() == []


def test_numbers_of_pruned_versions_are_not_given_again(store):
    last = add(store, 2)
    store.prune(0)
    assert version_number(add(store, 3).name) == version_number(last.name) + 1


def test_pruning_bounds_the_rejected_weights(store, tmp_path):
    for number in range(4):
        file = tmp_path / f"{number}.safetensors"
        file.write_bytes(b"junk")
        with pytest.raises(StoreError, match="refused, kept as"):
            store.add(file, Record())
    store.prune(2)
    assert [entry.path.name for entry in store.rejected] == ["2.safetensors", "3.safetensors"]
    store.prune(0)
    assert list(store.rejected.folder.iterdir()) == []


def test_rejecting_moves_a_version_and_rolls_back_from_it(store):
    one, two = (store.promote(add(store, seed)) for seed in (1, 2))
    kept = store.reject(two, "does not load on the GPU")
    assert kept == store.folder / "quarantine" / two.name
    assert store.current() == one
    assert two.name in store.pointer().reason
    assert [entry.reason for entry in store.rejected] == ["does not load on the GPU"]
    assert store.reject(one.name, "neither").exists()
    assert store.current() == store.source()
    assert store.verify() == []


def test_rejecting_the_previous_leaves_the_one_before(store):
    one, two, three = (store.promote(add(store, seed)) for seed in (1, 2, 3))
    store.reject(two.name, "suspect")
    assert (store.current(), store.pointer().previous) == (three, one.name)


def test_the_source_is_never_rejected(store):
    with pytest.raises(StoreError, match="never moved away"):
        store.reject(store.source(), "whatever")
    assert store.source().path.exists()


def test_the_lock_keeps_changes_apart_and_readers_out_of_it(store):
    with locked(store.folder / ".lock", 1):
        patient = WeightStore(store.folder, lock_timeout_s=0.05)
        with pytest.raises(StoreError, match=r"\.lock: another process has held the lock") as error:
            patient.rollback()
        assert error.value.reason == "locked"
        assert patient.current() == store.source()
        assert StoreWatcher(store.folder).poll() == store.source()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "not a store's pointer"),
        (b"{}", "format"),
        (b'{"format": 9}', "format: 1 expected, got 9"),
        (b"[1]", "not a store's pointer"),
        (b'{"format": 1, "source": "../x", "current": "a", "history": []}', "names of files"),
        (b"\xff\xfe", "not a store's pointer"),
    ],
)
def test_a_damaged_pointer_is_named(store, content, word):
    (store.folder / "current").write_bytes(content)
    for look in (store.current, store.rollback):
        with pytest.raises(StoreError, match=word) as error:
            look()
        assert error.value.reason == "damaged"
        assert str(store.folder / "current") in str(error.value)
    assert len(store.verify()) == 1
    assert StoreWatcher(store.folder).poll() is None


# The watcher --------------------------------------------------------------------------------------------------------


def test_a_watcher_reports_each_change_once(store):
    watcher = StoreWatcher(store.folder)
    assert watcher.poll() == store.source()
    assert watcher.poll() is None
    one, two = (add(store, seed) for seed in (1, 2))
    assert watcher.poll() is None
    store.promote(one)
    assert watcher.poll() == one
    store.promote(two)
    store.rollback()
    assert watcher.poll() is None  # there and back between two looks
    store.rollback()
    assert watcher.poll() == store.source()


def test_two_watchers_of_one_store_report_the_same(store):
    watchers = [StoreWatcher(store.folder, running=store.current().name) for _ in range(2)]
    assert [watcher.poll() for watcher in watchers] == [None, None]
    one = store.promote(add(store, 1))
    assert [watcher.poll() for watcher in watchers] == [one, one]


def test_a_watcher_waits_for_a_store_and_survives_its_faults(tmp_path, caplog):
    store = WeightStore(tmp_path / "late")
    watcher = StoreWatcher(store.folder)
    assert watcher.poll() is None
    assert watcher.poll() is None
    assert len(caplog.records) == 1
    store.initialize(make_weights(-1))
    assert watcher.poll() == store.source()
    assert watcher.problem == ""
    good = (store.folder / "current").read_bytes()
    (store.folder / "current").write_bytes(good[:-20])
    assert watcher.poll() is None
    assert "current" in watcher.problem
    one = add_after_repair(store, good)
    assert watcher.poll() == one


def add_after_repair(store, pointer):
    (store.folder / "current").write_bytes(pointer)
    return store.promote(add(store, 1))


def test_pointers_are_told_apart_even_when_the_clock_stands_still(store, monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 1_000)
    seen = set()
    version = add(store, 1)
    for _ in range(5):
        store.promote(version)
        seen.add((store.folder / "current").stat().st_mtime_ns)
        store.rollback()
        seen.add((store.folder / "current").stat().st_mtime_ns)
    assert len(seen) == 10


def test_an_idle_look_is_one_stat(store):
    watcher = StoreWatcher(store.folder)
    watcher.poll()
    start = time.perf_counter()
    for _ in range(1000):
        watcher.poll()
    assert (time.perf_counter() - start) / 1000 < 1e-3


# Records -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"[]", b'{"parent": ""}', b"\xff"])
def test_a_damaged_record_is_named_and_its_version_not_listed(store, content):
    version = add(store, 1)
    version.path.with_suffix(".json").write_bytes(content)
    assert store.versions() == (store.source(),)
    (problem,) = store.verify()
    assert str(version.path.with_suffix(".json")) in problem


def test_verify_reads_tensors_and_names(store):
    version = add(store, 1)
    other = version.path.with_name("v0007-00000000.safetensors")
    other.write_bytes(version.path.read_bytes())
    other.with_suffix(".json").write_bytes(version.path.with_suffix(".json").read_bytes())
    (problem,) = store.verify()
    assert "the name does not match the content" in problem
    (store.folder / "current").write_text(
        json.dumps({**json.loads((store.folder / "current").read_text()), "current": "v0099-00000000.safetensors"})
    )
    assert any("current: v0099-00000000.safetensors: no such version" in problem for problem in store.verify())
