"""Fast DDS: the profile that lets images through shared memory whole, and the memory of those who were killed."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import time
from collections.abc import MutableMapping
from pathlib import Path

from sam_adapt_ros import resources

logger = logging.getLogger(__name__)

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Fast DDS 2 (Humble, Jazzy) and 3 read one each."""


def use_profile(environment: MutableMapping[str, str] = os.environ) -> None:
    """Names ``config/fastdds.xml`` in the environment, unless the user has named a profile; before ``rclpy.init``."""
    if not any(environment.get(variable) for variable in PROFILE_VARIABLES):
        path = str(resources.share_directory() / "config" / "fastdds.xml")
        environment.update(dict.fromkeys(PROFILE_VARIABLES, path))


_SHARED_MEMORY = Path("/dev/shm")
_LOCK = re.compile(r"fastrtps_[0-9a-f]{16}_el")
_YOUNG_S = 10.0


def free_memory_of_the_dead(folder: Path = _SHARED_MEMORY, young_s: float = _YOUNG_S) -> int:
    """Removes the shared memory that participants left behind who were killed: up to 70 MB each with our profile, which
    nobody else would ever free (``fastdds shm clean`` would). Returns how many had left some.

    A segment's owner holds a lock on the file beside it, which the kernel takes from the dead. Younger files are left
    alone: their owner may be about to lock them.
    """
    freed = 0
    for lock in folder.iterdir() if folder.is_dir() else ():
        if not _LOCK.fullmatch(lock.name):
            continue
        with contextlib.suppress(OSError), lock.open("rb") as file:  # of another user, or gone
            if time.time() - lock.stat().st_mtime < young_s:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.with_name(lock.name.removesuffix("_el")).unlink(missing_ok=True)
            lock.unlink()
            freed += 1
    if freed:
        logger.info("shared memory freed that %d killed DDS participants had left", freed)
    return freed
