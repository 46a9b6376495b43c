"""Notices from another process that a store has other weights in use; an idle poll costs one ``stat``."""

from __future__ import annotations

import logging
from pathlib import Path

from sam_adapt_ros.adaptation.weight_store.pointer import POINTER_FILE
from sam_adapt_ros.adaptation.weight_store.store_reader import StoreReader
from sam_adapt_ros.adaptation.weight_store.version import Version
from sam_adapt_ros.errors import StoreError

logger = logging.getLogger(__name__)


class StoreWatcher:
    """Reports when a store has other weights in use than before. Takes no lock, writes nothing, never raises.

    folder: the store's; it may be created later.
    running: name of the version that was reported last, "" for none.
    problem: why the last poll failed, "" when it did not; the next poll tries again.
    """

    def __init__(self, folder: str | Path, running: str = "") -> None:
        self._store = StoreReader(folder)
        self._pointer = Path(folder) / POINTER_FILE
        self._seen: tuple[int, int] | None = None
        self.running = running
        self.problem = ""

    def poll(self) -> Version | None:
        """The version in use, once after each change; else None.

        Its file exists while it is current or previous: a caller that takes longer than two promotions and a ``prune``
        to load it finds it missing, and polls again.
        """
        try:
            status = self._pointer.stat()
            identity = (status.st_mtime_ns, status.st_ino)
            if identity == self._seen:
                return None
            version = self._store.current()
        except OSError as error:
            self._failed(f"{self._pointer}: {error.strerror}")
            return None
        except StoreError as error:
            self._failed(str(error))
            return None
        self._seen, self.problem = identity, ""
        if version.name == self.running:
            return None
        self.running = version.name
        return version

    def report_again(self) -> None:
        """Makes the next poll report the version in use even if it has not changed, as when loading it failed."""
        self._seen, self.running = None, ""

    def _failed(self, problem: str) -> None:
        if problem != self.problem:
            logger.warning("the weight store cannot be read and is polled again: %s", problem)
        self.problem = problem
