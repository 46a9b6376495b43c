import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.io.lock import locked


def test_one_exclusive_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path, timeout_s=0.0):
        for shared in (False, True):
            with pytest.raises(StoreError, match=r"\.lock: another process") as error, locked(path, 0.05, shared):
                pass
            assert error.value.reason == "locked"
    with locked(path, timeout_s=0.0):
        pass


def test_shared_holders_keep_only_exclusive_ones_out(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path, 0.0, shared=True), locked(path, 0.0, shared=True):
        refused = locked(path, 0.0)
        with pytest.raises(StoreError, match="locked"):
            refused.__enter__()


def test_a_kill_releases_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    hold = (
        "import sys, time; from pathlib import Path; from sam_adapt_ros.io.lock import locked\n"
        "with locked(Path(sys.argv[1]), 0.0): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreError, match="locked"), locked(path, 0.0):
            pass
        os.kill(holder.pid, signal.SIGKILL)
    with locked(path, timeout_s=5.0):
        pass


def test_readers_go_on_where_no_lock_can_be_made_and_writers_do_not(tmp_path: Path) -> None:
    path = tmp_path / "missing" / ".lock"
    with locked(path, 0.0, shared=True):
        pass
    with pytest.raises(StoreError, match=str(path)) as error, locked(path, 0.0):
        pass
    assert error.value.reason == "missing"
