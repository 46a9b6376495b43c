"""Processes that end with the one that they work for, however it ends."""

from __future__ import annotations

import os
import select
import threading


def end_with(driver: int) -> None:
    """From now on, this process ends when the process of that id does, also when it is killed: a next run would
    otherwise find it still at work on the same files. The driver need not be its parent."""
    try:
        handle = os.pidfd_open(driver)
    except ProcessLookupError:
        os._exit(1)
    threading.Thread(target=_wait, args=(handle,), daemon=True).start()


def _wait(handle: int) -> None:
    select.select([handle], [], [])
    os._exit(1)
