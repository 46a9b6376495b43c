import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.io.atomic_write import is_temporary, write_atomically
from sam_adapt_ros.io.store_errors import store_errors


def test_the_data_is_synced_before_the_file_gets_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []
    names = {}
    real_open, real_fsync, real_replace = os.open, os.fsync, os.replace

    def opened(path, *arguments, **keywords):
        descriptor = real_open(path, *arguments, **keywords)
        names[descriptor] = os.fspath(path)
        return descriptor

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append(("fsync", names.get(fd, ""))), real_fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append(("replace", str(a), str(b))), real_replace(a, b)))
    path = tmp_path / "file"
    write_atomically(path, b"content")
    (temporary,) = (event[1] for event in events if event[0] == "replace")
    assert events == [("fsync", temporary), ("replace", temporary, str(path)), ("fsync", str(tmp_path))]
    assert is_temporary(Path(temporary))
    assert not is_temporary(path)
    assert path.read_bytes() == b"content"


def test_a_write_that_takes_several_calls_is_complete_and_has_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real_write(descriptor, data[:7]))
    path = tmp_path / "file"
    write_atomically(path, bytes(range(100)), mtime_ns=1_234_567_890)
    assert path.read_bytes() == bytes(range(100))
    assert path.stat().st_mtime_ns == 1_234_567_890


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_content_alone(
    failing: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


_KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from store_weights import die_at
from sam_adapt_ros.io.atomic_write import write_atomically
path = Path(sys.argv[2])
die_at(int(sys.argv[3]))
write_atomically(path, b"new" * 1000)
"""


def test_a_kill_at_any_instant_leaves_the_old_or_the_new_content(tmp_path: Path) -> None:
    support = str(Path(__file__).parents[1] / "support")
    path = tmp_path / "file"
    seen = set()
    for instant in range(1, 20):
        path.write_bytes(b"old")
        done = subprocess.run([sys.executable, "-c", _KILLED, support, str(path), str(instant)], check=False)
        seen.add(path.read_bytes())
        others = [other for other in tmp_path.iterdir() if other != path]
        assert all(map(is_temporary, others))
        for other in others:
            other.unlink()
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
    assert instant >= 5
    assert seen == {b"old", b"new" * 1000}


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EROFS, "read_only"),
        (errno.EACCES, "read_only"),
        (errno.ENOENT, "missing"),
        (errno.EIO, "io"),
        (None, "io"),
    ],
)
def test_errors_of_the_system_name_the_file_and_the_reason(number: int | None, reason: str) -> None:
    with pytest.raises(StoreError, match=rf"^some/file: .*\({reason}\)$") as error, store_errors(Path("some/file")):
        raise OSError("broken") if number is None else OSError(number, os.strerror(number))
    assert error.value.reason == reason
