import errno
from pathlib import Path

import pytest

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
