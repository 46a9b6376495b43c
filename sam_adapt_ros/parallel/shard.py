"""One part of long work, and what every engine does with it."""

from __future__ import annotations

import errno
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from sam_adapt_ros.errors import ParallelError, SamAdaptError, StoreError
from sam_adapt_ros.progress import Progress

T = TypeVar("T")

ATTEMPTS = 3
"""How often a part is tried whose worker dies, or whose files cannot be read or written for a moment."""
RETRY_AFTER_S = 1.0
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PASSING = (errno.EAGAIN, errno.EBUSY, errno.EIO, errno.ESTALE, errno.ETIMEDOUT)  # of disks on a network

Function: TypeAlias = Callable[[T, Path, Progress], None]
"""``function(work, output, progress)`` makes the output of a part: a file or a folder that takes its name as a whole
(see ``io``, ``BagWriter``). The same work gives the same output. A function of a module, so that workers find it."""


@dataclass(frozen=True)
class Shard(Generic[T]):
    """A part of long work: a bag, a scene, a hundred frames.

    name: of its output in the folder of the work, and of the part in messages. work: what the function is given; it
    can be pickled. size: of the part in the unit of the progress, such as frames. key: what its output depends on
    besides the name, such as its files: an output that was made with another one is not taken. gpu: whether it computes
    on a GPU where there is one; else it waits for none on a cluster.
    """

    name: str
    work: T
    size: int = 1
    key: str = ""
    gpu: bool = True


def attempt(function: Function[T], work: T, output: Path, progress: Progress) -> Exception | None:
    """Does one part in this process; returns what went wrong, in a form that can be sent to another process."""
    for left in reversed(range(ATTEMPTS)):
        try:
            function(work, output, progress)
        except SamAdaptError as error:
            cause = error.__cause__  # which is not sent to another process
            if isinstance(cause, OSError):
                error.errno = cause.errno  # type: ignore[attr-defined]
            return error
        except OSError as error:
            if not left or error.errno not in _PASSING:
                return error
            time.sleep(RETRY_AFTER_S)
            continue
        except Exception:
            return RuntimeError(f"{output.name}: {traceback.format_exc()}")  # the error itself may not be picklable
        return None
    raise AssertionError("unreachable")


def lost(name: str, why: str) -> ParallelError:
    """Of a part whose workers die again and again."""
    return ParallelError(
        f"{name}: its worker died {ATTEMPTS} times ({why}); if memory is short, use fewer workers: what is done stays"
    )


def is_disk_full(error: BaseException) -> bool:
    """Whether the other parts would fail for the same reason: the disk is full."""
    if isinstance(error, StoreError):
        return error.reason == "disk_full"
    return getattr(error, "errno", None) in _DISK_FULL
