import errno
import pickle
from pathlib import Path

import pytest

from sam_adapt_ros.errors import BagError
from sam_adapt_ros.parallel import shard


@pytest.mark.parametrize(
    ("number", "tries"),
    [(errno.EIO, shard.ATTEMPTS), (errno.ESTALE, shard.ATTEMPTS), (errno.ENOENT, 1), (errno.EACCES, 1)],
)
def test_only_what_may_pass_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, tries: int
) -> None:
    monkeypatch.setattr(shard, "RETRY_AFTER_S", 0.0)
    calls: list[Path] = []

    def fail(work: int, output: Path, progress: object) -> None:
        calls.append(output)
        raise OSError(number, "of the disk", str(output))

    found = shard.attempt(fail, 1, tmp_path / "part", lambda *_: None)
    assert isinstance(found, OSError) and found.errno == number
    assert len(calls) == tries


@pytest.mark.parametrize(("number", "full"), [(errno.ENOSPC, True), (errno.EFBIG, True), (errno.EACCES, False)])
def test_a_full_disk_is_known_also_where_the_error_names_a_bag(tmp_path: Path, number: int, full: bool) -> None:
    """And after it came from another process, which its cause does not."""

    def fail(work: int, output: Path, progress: object) -> None:
        try:
            raise OSError(number, "of the disk")
        except OSError as error:
            raise BagError(f"{output}: cannot be written: {error}") from error

    found = shard.attempt(fail, 1, tmp_path / "part", lambda *_: None)
    assert found is not None
    for error in (found, pickle.loads(pickle.dumps(found))):
        assert isinstance(error, BagError)
        assert shard.is_disk_full(error) == full
