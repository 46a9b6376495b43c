"""Weights pushed from store to store: what is taken, what is refused, and kills at every step."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_weights import make_weights
from typer.testing import CliRunner

from sam_adapt_ros import cli
from sam_adapt_ros.adaptation import Record, StoreWatcher, WeightStore
from sam_adapt_ros.adaptation.weight_store.transfer import transfer
from sam_adapt_ros.errors import StoreError


@pytest.fixture
def fleet(tmp_path: Path) -> WeightStore:
    """A store whose source is make_weights(-1), with one version in use."""
    store = WeightStore(tmp_path / "fleet")
    store.initialize(make_weights(-1))
    store.promote(store.add(make_weights(1), Record(frames=7, gate={"mean_color": [0.1, 0.2, 0.3]})))
    return store


@pytest.fixture
def vehicle(tmp_path: Path) -> WeightStore:
    """Another of the same source, with a version of its own in use."""
    store = WeightStore(tmp_path / "vehicle")
    store.initialize(make_weights(-1))
    store.promote(store.add(make_weights(2), Record()))
    return store


def test_what_one_store_uses_is_used_by_the_other_and_can_be_rolled_back(
    fleet: WeightStore, vehicle: WeightStore
) -> None:
    own = vehicle.current()
    watcher = StoreWatcher(vehicle.folder, running=own.name)
    taken, changed = transfer(fleet.folder, vehicle.folder)
    assert changed and vehicle.current() == taken
    assert taken.path.read_bytes() == fleet.current().path.read_bytes()
    assert taken.record.frames == 7 and taken.record.gate == {"mean_color": [0.1, 0.2, 0.3]}
    assert fleet.current().name in vehicle.pointer().reason
    assert watcher.poll() == taken
    assert transfer(fleet.folder, vehicle.folder) == (taken, False)
    assert vehicle.rollback() == own
    assert transfer(fleet.folder, vehicle.folder) == (taken, True)
    assert len(vehicle.versions()) == 3
    assert vehicle.verify() == []


def test_a_folder_without_a_store_becomes_one(fleet: WeightStore, tmp_path: Path) -> None:
    transfer(fleet.folder, tmp_path / "new")
    new = WeightStore(tmp_path / "new")
    assert new.source().path.read_bytes() == fleet.source().path.read_bytes()
    assert new.current().path.read_bytes() == fleet.current().path.read_bytes()
    assert new.rollback() == new.source()


def test_a_version_is_given_by_its_name_the_source_too(fleet: WeightStore, vehicle: WeightStore) -> None:
    assert transfer(fleet.folder, vehicle.folder, "v0000") == (vehicle.source(), True)
    assert vehicle.current() == vehicle.source()
    with pytest.raises(StoreError, match="v0009: no such version"):
        transfer(fleet.folder, vehicle.folder, "v0009")


def test_a_version_of_another_source_model_is_refused(fleet: WeightStore, tmp_path: Path) -> None:
    other = WeightStore(tmp_path / "other")
    source = other.initialize(make_weights(-2))
    with pytest.raises(StoreError, match=r"other: its source model is v0000-\w+\.safetensors, that of .*fleet is"):
        transfer(fleet.folder, other.folder)
    assert other.current() == source
    assert other.versions() == (source,)


def test_nothing_learned_is_nothing_to_give(tmp_path: Path, vehicle: WeightStore) -> None:
    fresh = WeightStore(tmp_path / "fresh")
    fresh.initialize(make_weights(-1))
    before = vehicle.current()
    with pytest.raises(StoreError, match="there is nothing learned to give"):
        transfer(fresh.folder, vehicle.folder)
    with pytest.raises(StoreError, match="there is no weight store in this folder"):
        transfer(tmp_path / "nowhere", vehicle.folder)
    assert vehicle.current() == before


def test_a_damaged_version_is_not_given(fleet: WeightStore, vehicle: WeightStore) -> None:
    before, path = vehicle.current(), fleet.current().path
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=f"{path.name}: the content is damaged.*not transferred"):
        transfer(fleet.folder, vehicle.folder)
    assert vehicle.current() == before and len(vehicle.versions()) == 2


def test_a_store_that_changes_meanwhile_keeps_what_it_chose(
    fleet: WeightStore, vehicle: WeightStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = WeightStore.add

    def add_and_roll_back(store: WeightStore, *arguments: object) -> object:
        added = add(store, *arguments)  # type: ignore[arg-type]
        WeightStore(vehicle.folder).rollback()
        return added

    monkeypatch.setattr(WeightStore, "add", add_and_roll_back)
    with pytest.raises(StoreError, match="not promoted: it was compared with"):
        transfer(fleet.folder, vehicle.folder)
    assert vehicle.current() == vehicle.source()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a kill leaves the same there, and a sync costs nothing."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.soak
def test_a_push_that_is_killed_leaves_the_old_or_the_new(
    fleet: WeightStore, vehicle: WeightStore, memory: Path
) -> None:
    """Killed at the first thing that it does to the file system, at the third, and so on, until it gets through."""
    code = (
        "import os, sys, torch; from pathlib import Path; from store_weights import die_at\n"
        "from sam_adapt_ros.adaptation.weight_store.transfer import transfer\n"
        "from sam_adapt_ros.segmentation import weights\n"
        "for line in sys.stdin:\n"
        "    folder, count = line.split()\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        die_at(int(count)); transfer(sys.argv[1], Path(folder)); os._exit(0)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    arguments = [sys.executable, "-c", code, str(fleet.folder)]
    old, new = vehicle.current(), fleet.current().path.read_bytes()
    kills = promoted = 0
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
    ) as server:
        assert server.stdin and server.stdout
        while True:
            folder = memory / f"copy-{kills}"
            shutil.copytree(vehicle.folder, folder)
            server.stdin.write(f"{folder} {2 * kills + 1}\n")
            code_of_child = int(server.stdout.readline())
            store = WeightStore(folder)
            assert store.verify() == []
            is_new = store.current().path.read_bytes() == new
            assert is_new or store.current().name == old.name
            promoted += is_new
            if code_of_child == 0:
                break
            assert code_of_child == -9
            kills += 1
            transfer(fleet.folder, folder)
            assert store.current().path.read_bytes() == new and store.verify() == []
        server.stdin.close()
    assert kills > 10 and promoted >= 1


def test_the_commands(fleet: WeightStore, vehicle: WeightStore, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["weights", "push", str(fleet.folder), str(vehicle.folder)])
    assert result.output == f"in use: {vehicle.current().name} ({vehicle.folder})\n"
    result = CliRunner().invoke(cli.app, ["weights", "pull", str(vehicle.folder), str(fleet.folder)])
    assert result.output == f"in use: {vehicle.current().name} ({vehicle.folder}); it was before\n"
    result = CliRunner().invoke(cli.app, ["weights", "pull", str(tmp_path / "x"), str(fleet.folder), "--version", "v1"])
    assert isinstance(result.exception, StoreError)
