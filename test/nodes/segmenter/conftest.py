from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from weights_support import ManagedSlot, save_source

from sam_adapt_ros.adaptation import WeightStore


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_source(tmp_path_factory.mktemp("source") / "source.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path, source: Path) -> WeightStore:
    store = WeightStore(folder)
    store.initialize(source)
    return store


@pytest.fixture
def make_managed(source: Path, folder: Path) -> Iterator[Callable[..., ManagedSlot]]:
    made: list[ManagedSlot] = []

    def make(**values: object) -> ManagedSlot:
        made.append(ManagedSlot(source, folder, **values))
        return made[-1]

    yield make
    for each in made:
        each.slot.close()
