"""Work for loader processes, which import it."""

import os
import time
from pathlib import Path

from sam_adapt_ros.bags import MessageReader
from sam_adapt_ros.errors import MessageError


def square(item: int) -> int:
    time.sleep(0.02 * (item % 3 == 0))  # the order is not that in which they end
    return item * item


def process(_: int) -> int:
    return os.getpid()


def fail(item: int) -> int:
    if item == 2:
        raise MessageError("truncated", "/data/000002.png: cut short")
    return item


def die(item: int) -> int:
    if item == 2:
        os.kill(os.getpid(), 9)
    return item


def leave_a_trace(folder: Path, item: int) -> int:
    (folder / str(item)).touch()
    return item


def read_packed(bag: Path, temporary: Path, _: int) -> bool:
    """Whether a bag that is compressed file by file is unpacked below ``temporary`` while it is read."""
    with MessageReader(bag) as reader:
        return sum(1 for _ in reader.messages()) > 0 and bool(list(temporary.glob("sam_adapt_bag*")))
