"""Fast DDS: the profile with enough shared memory for images, and the removal of what killed processes left there."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from sam_adapt_ros import resources

logger = logging.getLogger(__name__)

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Fast DDS 2 (Humble, Jazzy) and 3 read one each."""
_PROFILE_FILES = ("DEFAULT_FASTRTPS_PROFILES.xml", "DEFAULT_FASTDDS_PROFILES.xml")
_SHARED_MEMORY = Path("/dev/shm")
_LOCK_FILE = re.compile(r"fastrtps_[0-9a-f]{16}_el")
_MIN_AGE_S = 10.0


def use_profile(environment: MutableMapping[str, str] = os.environ) -> None:
    """Puts ``profile_variables`` into the environment; before ``rclpy.init``."""
    environment.update(profile_variables(environment))


def profile_variables(environment: Mapping[str, str], folder: Path | None = None) -> dict[str, str]:
    """The variables that name ``config/fastdds.xml``, for a process that sends or takes images; none where the user has
    chosen: a profile, transports, or a file that Fast DDS finds in the process's working folder.

    folder: the working folder; None: this process's.
    """
    skips = environment.get("SKIP_DEFAULT_XML") == "1" or environment.get("SKIP_DEFAULT_XML_FILE") == "1"
    found = not skips and any(((folder or Path.cwd()) / name).is_file() for name in _PROFILE_FILES)
    if found or any(environment.get(variable) for variable in (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS")):
        return {}
    return dict.fromkeys(PROFILE_VARIABLES, str(resources.share_directory() / "config" / "fastdds.xml"))


def remove_stale_shared_memory(folder: Path = _SHARED_MEMORY, min_age_s: float = _MIN_AGE_S) -> int:
    """Removes the shared memory of participants that were killed: up to 70 MB each with our profile, which only
    ``fastdds shm clean`` frees otherwise. Returns how many participants had left some.

    A segment's owner locks the segment's lock file, and the kernel releases the lock when the owner ends. Younger files
    are skipped: their owner may not have locked them yet.
    """
    removed = 0
    for lock in folder.iterdir() if folder.is_dir() else ():
        if not _LOCK_FILE.fullmatch(lock.name):
            continue
        with contextlib.suppress(OSError), lock.open("rb") as file:  # of another user, or removed
            if time.time() - lock.stat().st_mtime < min_age_s:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.with_name(lock.name.removesuffix("_el")).unlink(missing_ok=True)
            lock.unlink()
            removed += 1
    if removed:
        logger.info("removed the shared memory that %d killed DDS participants had left in %s", removed, folder)
    return removed
