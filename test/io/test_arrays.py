import os
from pathlib import Path

import numpy as np
import pytest

from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.io.arrays import load_arrays, save_arrays


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("facts", [None, {}, {"name": "é", "numbers": [1, 2.5, None]}])
def test_arrays_and_facts_come_back(tmp_path: Path, compress: bool, facts: dict[str, object] | None) -> None:
    arrays = {"points": np.arange(6, dtype=np.float32).reshape(2, 3), "empty": np.zeros((0, 3), np.uint8)}
    path = tmp_path / "file.npz"
    save_arrays(path, arrays, facts, compress)
    loaded, said = load_arrays(path)
    assert said == (facts or {})
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array, strict=True)


@pytest.mark.parametrize("compress", [False, True])
def test_whatever_byte_is_damaged_the_file_is_named(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "file.npz"
    save_arrays(path, {"points": np.arange(20)}, {"name": "x"}, compress)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for spoiled in (whole[:place], whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]):
            path.write_bytes(spoiled)
            try:
                load_arrays(path)
            except StoreError as error:
                assert error.reason == "damaged"
                assert str(path) in str(error)


def test_other_files_are_damaged_and_none_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    with pytest.raises(StoreError, match=r"file\.npz: no such file") as error:
        load_arrays(path)
    assert error.value.reason == "missing"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(StoreError, match="cannot be read") as error:
        load_arrays(path)
    assert error.value.reason == "damaged"
    np.savez(path, facts=np.frombuffer(b"[1]", np.uint8))
    with pytest.raises(StoreError, match="mapping expected"):
        load_arrays(path)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("/tmp/unpickled",))


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz", points=np.array([Bomb()], object))
    with pytest.raises(StoreError, match="allow_pickle"):
        load_arrays(tmp_path / "file.npz")
    assert not Path("/tmp/unpickled").exists()


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere/file\.npz") as error:
        save_arrays(tmp_path / "nowhere" / "file.npz", {})
    assert error.value.reason == "missing"
