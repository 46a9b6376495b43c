"""Kills at every and at random instants, full and read-only disks, candidates that must not be taken."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import safetensors.torch
import store_weights
import torch
from store_weights import make_weights

from sam_adapt_ros.adaptation import Record, StoreWatcher, WeightStore
from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.segmentation import weights as weights_files


@pytest.fixture
def store(tmp_path):
    store = WeightStore(tmp_path / "store")
    store.initialize(make_weights(-1))
    return store


class Writers:
    """Forks writer processes that change a store until they are killed."""

    def __init__(self):
        self._server = subprocess.Popen(
            [sys.executable, store_weights.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._server.stdout.readline() == "ready\n"

    def start(self, folder, log, seed, die_at=0, rounds=1_000_000):
        self._server.stdin.write(f"{folder} {log} {seed} {die_at} {rounds}\n")
        return int(self._server.stdout.readline())

    def wait(self):
        return os.waitstatus_to_exitcode(int(self._server.stdout.readline()))

    def close(self):
        self._server.stdin.close()
        self._server.wait(10)


@pytest.fixture(scope="module")
def writers():
    writers = Writers()
    yield writers
    writers.close()


@pytest.fixture
def fast_folder(tmp_path):
    """A folder in memory where there is one: a kill leaves the same there, and a sync costs nothing."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def check_after_kill(folder, log, before):
    """The store is whole and what it points at is what was pointed at before the kill, or what was about to be."""
    store = WeightStore(folder, lock_timeout_s=2)
    assert store.verify() == []
    said = log.read_text().splitlines() if log.exists() else []
    assert store.current().name in (said[-1].split() if said else [before])
    pointer = store.pointer()
    # The next process goes on: the leftovers go, and every change works.
    version = store.promote(store.add(make_weights(random.getrandbits(30)), Record(parent=pointer.current)))
    assert store.pointer().previous == pointer.current
    assert store.rollback().name == pointer.current
    assert store.verify() == []
    known = {path.name for version in store.versions() for path in (version.path, version.path.with_suffix(".json"))}
    left = {path.name for path in folder.iterdir()} - known
    assert left <= {"current", ".lock", ".reserve", "quarantine"}
    assert version in store.versions()
    log.unlink(missing_ok=True)
    return store


def test_a_kill_at_every_step_of_every_change_leaves_the_store_whole(fast_folder, writers):
    """A round of changes, killed at the first thing that it does to the file system, at the second, and so on."""
    pristine = fast_folder / "pristine"
    source = WeightStore(pristine).initialize(make_weights(-1)).name
    log = fast_folder / "log"
    kills = 0
    while True:
        folder = fast_folder / "store"
        shutil.copytree(pristine, folder)
        writers.start(folder, log, seed=1, die_at=kills + 1, rounds=1)
        if writers.wait() == 0:
            break
        kills += 1
        check_after_kill(folder, log, before=source)
        shutil.rmtree(folder)
    assert kills > 80


def test_kills_at_fifty_random_instants_of_one_long_life(fast_folder, writers):
    generator = random.Random(0)
    store = WeightStore(fast_folder / "store")
    store.initialize(make_weights(-1))
    source = store.source().path.read_bytes()
    watchers = [StoreWatcher(store.folder) for _ in range(2)]
    for seed in range(50):
        before = store.current().name
        writer = writers.start(store.folder, fast_folder / "log", seed)
        time.sleep(generator.uniform(0.0, 0.12))
        for watcher in watchers:
            watcher.poll()
            assert watcher.problem == ""
        os.kill(writer, signal.SIGKILL)
        assert writers.wait() == -signal.SIGKILL
        check_after_kill(store.folder, fast_folder / "log", before).prune(3)
    assert store.source().path.read_bytes() == source
    assert {watcher.poll() and watcher.running for watcher in watchers} <= {None, store.current().name}


def test_several_processes_and_threads_change_and_follow_one_store(fast_folder, writers):
    """Adapter, command line and two segmenters at once: nobody fails, and every version seen is whole."""
    store = WeightStore(fast_folder / "store")
    store.initialize(make_weights(-1))
    writer = writers.start(store.folder, fast_folder / "log", seed=7)
    stop, failures, seen = threading.Event(), [], set()

    def roll_back():
        mine = WeightStore(store.folder)
        while not stop.is_set():
            try:
                mine.rollback("by hand")
            except StoreError as error:
                if error.reason != "refused":
                    failures.append(error)
            time.sleep(0.01)

    def watch():
        watcher = StoreWatcher(store.folder)
        while not stop.is_set():
            version = watcher.poll()
            if watcher.problem:
                failures.append(watcher.problem)
            if version is not None:
                try:
                    weights_files.load(version.path)
                    seen.add(version.name)
                except weights_files.WeightsError as error:
                    if version.path.exists():  # pruned or rejected meanwhile: fine
                        failures.append(error)

    threads = [threading.Thread(target=target) for target in (roll_back, watch, watch)]
    for thread in threads:
        thread.start()
    time.sleep(2.5)
    stop.set()
    for thread in threads:
        thread.join()
    os.kill(writer, signal.SIGKILL)
    writers.wait()
    # The writer rejects what it finds in use: the version that another process rolled back to may be the source.
    assert not failures
    assert len(seen) > 3
    assert store.verify() == []


# Disks ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk):
    with pytest.raises(OSError, match="No space left"), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_pauses_learning_and_rolls_back_all_the_same(small_disk):
    store = WeightStore(small_disk / "store")
    store.initialize(make_weights(-1, size=8000))
    promoted = []
    with pytest.raises(StoreError, match="No space left") as error:
        promoted.extend(store.promote(store.add(make_weights(seed, size=8000), Record())) for seed in range(100))
    assert error.value.reason == "disk_full"
    assert len(promoted) > 5
    assert store.verify() == []
    assert store.current() == promoted[-1]
    fill(small_disk)
    assert store.rollback() == promoted[-2]
    assert store.rollback() == promoted[-3]
    assert store.verify() == []
    assert StoreWatcher(store.folder).poll() == promoted[-3]
    (small_disk / "filler").unlink()
    assert store.prune(0)
    version = store.promote(store.add(make_weights(1000, size=8000), Record()))
    assert store.current() == version
    assert store.verify() == []


def test_a_full_disk_is_told_at_whichever_write_it_comes(store, monkeypatch):
    """Every write of ``add`` and ``promote`` fails once."""
    writes, real_write, real_fsync = 0, os.write, os.fsync

    def counted(real):
        def call(*arguments):
            nonlocal writes
            writes += 1
            if writes == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments)

        return call

    monkeypatch.setattr(os, "write", counted(real_write))
    monkeypatch.setattr(os, "fsync", counted(real_fsync))
    failed = 0
    for failing in range(1, 100):
        writes, before = 0, store.current()
        try:
            version = store.add(make_weights(failing), Record())
            store.promote(version)
        except StoreError as error:
            failed += 1
            assert error.reason == "disk_full"
            assert str(store.folder) in str(error)
            assert store.current() in (before, store.versions()[-1])
        assert store.verify() == []
        if writes < failing:
            break
    assert failed >= 4


def test_a_read_only_store_can_be_looked_at_and_says_so(store, tmp_path):
    one = store.promote(store.add(make_weights(1), Record()))
    view = tmp_path / "view"
    view.mkdir()
    if subprocess.run(["mount", "--bind", store.folder, view], capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", view], check=True)
        frozen = WeightStore(view)
        assert frozen.current().name == one.name
        assert len(frozen.versions()) == 2
        assert frozen.verify() == []
        assert StoreWatcher(view).poll().name == one.name
        for change in (
            lambda: frozen.add(make_weights(2), Record()),
            lambda: frozen.promote(frozen.source()),
            frozen.rollback,
            lambda: frozen.prune(0),
            lambda: frozen.reject(one.name, "no"),
        ):
            with pytest.raises(StoreError, match="Read-only") as error:
                change()
            assert error.value.reason == "read_only"
            assert str(view) in str(error.value)
    finally:
        subprocess.run(["umount", "-l", view], check=True)
    assert store.verify() == []


# Candidates ----------------------------------------------------------------------------------------------------------


def saved(tmp_path, weights, name="mine.safetensors"):
    path = tmp_path / name
    weights_files.save(path, weights)
    return path


def with_tensor(name, tensor, **others):
    return make_weights(1, state={**make_weights(1).state, name: tensor, **others})


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda data: data[: len(data) // 2], "not a safetensors file"),
        (lambda data: data[:-8], "not a safetensors file"),
        (lambda data: b"", "an empty file"),
        (lambda data: data[:-4] + b"\x00\x01\x02\x03", "checksum"),
        (lambda data: data + b"x", "not a safetensors file"),
        (lambda data: random.Random(1).randbytes(3000), "header"),
        (lambda data: safetensors.torch.save({"a": torch.zeros(3)}), "metadata"),
    ],
)
def test_a_damaged_file_is_refused_named_and_kept(store, tmp_path, spoil, word):
    path = saved(tmp_path, make_weights(1))
    content = spoil(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(StoreError, match=word) as error:
        store.add(path, Record())
    assert error.value.reason == "refused"
    assert str(path) in str(error.value)
    (kept,) = store.rejected
    assert kept.path.read_bytes() == content
    assert kept.path.name == path.name
    assert str(kept.path) in str(error.value)
    assert str(path) in kept.reason
    assert store.versions() == (store.source(),)
    assert store.verify() == []


@pytest.mark.parametrize(
    ("weights", "word"),
    [
        (make_weights(1, taxonomy="nuscenes"), "taxonomy: town expected, got nuscenes"),
        (make_weights(1, classes=("road", "bus")), "classes: .* expected"),
        (make_weights(1, classes=("building", "road")), "classes"),
        (make_weights(1, architecture=ArchitectureConfig(point_width=8)), "architecture.point_width"),
        (with_tensor("image.bias", torch.full((64,), torch.nan)), "image.bias: .*not finite"),
        (with_tensor("image.weight", torch.full((64, 3), torch.inf)), "image.weight: .*not finite"),
        (with_tensor("image.bias", torch.zeros(63)), r"image.bias: \(64,\) expected, got \(63,\)"),
        (with_tensor("extra", torch.zeros(2)), "extra: no such tensor expected"),
        (make_weights(1, state={"image.bias": torch.zeros(64)}), "image.weight: .* expected, got no such tensor"),
    ],
)
def test_a_candidate_that_does_not_fit_is_refused_named_and_kept(store, weights, word):
    with pytest.raises(StoreError, match=word) as error:
        store.add(weights, Record())
    assert error.value.reason == "refused"
    (kept,) = store.rejected
    assert kept.path.stat().st_size > 0
    assert kept.reason in str(error.value)
    state = safetensors.torch.load(kept.path.read_bytes())
    assert set(state) == set(weights.state)
    assert store.versions() == (store.source(),)


def test_a_missing_candidate_is_named(store, tmp_path):
    with pytest.raises(StoreError, match=r"nowhere\.safetensors") as error:
        store.add(tmp_path / "nowhere.safetensors", Record())
    assert error.value.reason == "missing"
    assert list(store.rejected) == []


def test_a_version_that_is_damaged_on_disk_is_not_promoted_but_rejected(store):
    version = store.add(make_weights(1), Record())
    version.path.chmod(0o644)
    version.path.write_bytes(version.path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=version.name) as error:
        store.promote(version)
    assert error.value.reason == "damaged"
    assert store.current() == store.source()
    assert [entry.path.name for entry in store.rejected] == [version.name]
    assert store.verify() == []


def test_a_store_whose_source_is_damaged_takes_nothing_and_blames_no_candidate(store):
    source = store.source().path
    source.chmod(0o644)
    source.write_bytes(source.read_bytes()[:-1])
    with pytest.raises(StoreError, match=f"{source.name}.*takes no weights") as error:
        store.add(make_weights(1), Record())
    assert error.value.reason == "damaged"
    assert list(store.rejected) == []
