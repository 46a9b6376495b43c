"""What workers do in tests: functions that another process can import."""

import errno
import logging
import os
import signal
import time
from pathlib import Path

from sam_adapt_ros.bags import MessageReader
from sam_adapt_ros.errors import BagError, StoreError
from sam_adapt_ros.io.atomic_write import write_atomically
from sam_adapt_ros.progress import Progress


def square(work: int, output: Path, progress: Progress) -> None:
    """Writes the square, and in which process it was computed."""
    for done in range(3):
        progress(done, 2)
    write_atomically(output, f"{work * work}\n{os.getpid()}\n".encode())


def value(output: Path) -> int:
    return int(output.read_text().split()[0])


def die_once(work: Path, output: Path, progress: Progress) -> None:
    """Kills its process as the kernel does when memory is short, but only the first time."""
    if not work.exists():
        work.touch()
        (output.parent / f".{output.name}.left.tmp").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    write_atomically(output, b"0")


def die(work: int, output: Path, progress: Progress) -> None:
    """The part 1 kills its process."""
    if work == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    square(work, output, progress)


def refuse_odd(work: int, output: Path, progress: Progress) -> None:
    if work % 2:
        raise BagError(f"bag {work}: odd")
    square(work, output, progress)


def fail(work: int, output: Path, progress: Progress) -> None:
    raise ZeroDivisionError(f"{work} by nothing")


def fill_disk(work: int, output: Path, progress: Progress) -> None:
    """The disk is full once part-0 is there."""
    while work and not (output.parent / "part-0").exists():
        time.sleep(0.01)
    if work:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(output))
    square(work, output, progress)


def refuse_in_store(work: int, output: Path, progress: Progress) -> None:
    raise StoreError("disk_full", f"{output}: no space")


def wait(work: float, output: Path, progress: Progress) -> None:
    time.sleep(work)
    write_atomically(output, b"0")


def note_process(work: float, output: Path, progress: Progress) -> None:
    time.sleep(work)
    write_atomically(output, str(os.getpid()).encode())


def write(content: bytes, work: int, output: Path, progress: Progress) -> None:
    write_atomically(output, content)


def stale_once(work: Path, output: Path, progress: Progress) -> None:
    if not work.exists():
        work.touch()
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    write_atomically(output, b"0")


def leave_nothing(work: int, output: Path, progress: Progress) -> None:
    pass


def warn(work: str, output: Path, progress: Progress) -> None:
    logging.getLogger("sam_adapt_ros.test").warning("mind the %s", work)
    write_atomically(output, b"0")


def find_locked(work: int, output: Path, progress: Progress) -> None:
    raise StoreError("locked", "a store of its own is locked")


def count_gpus(number: int, output: Path, progress: Progress) -> None:
    """Of the cluster's, those that are this task's."""
    import ray

    write_atomically(output, str(len(ray.get_runtime_context().get_accelerator_ids()["GPU"])).encode())


def read_packed(work: tuple[Path, Path], output: Path, progress: Progress) -> None:
    """Reads a bag that is compressed file by file, which is unpacked below a folder meanwhile."""
    bag, temporary = work
    with MessageReader(bag) as reader:
        assert sum(1 for _ in reader.messages())
    assert list(temporary.glob("sam_adapt_bag*"))
    output.touch()
