"""Watches a store's pointer from another process, at the cost of one ``stat`` a look."""

from __future__ import annotations

import logging
from pathlib import Path

from sam_adapt_ros.adaptation.weight_store.pointer import POINTER_FILE
from sam_adapt_ros.adaptation.weight_store.store_reader import StoreReader
from sam_adapt_ros.adaptation.weight_store.version import Version
from sam_adapt_ros.errors import StoreError

logger = logging.getLogger(__name__)


class StoreFollower:
    """Says when a store has other weights in use than before. Takes no lock and writes nothing; never raises.

    folder: the store's; it may come into being later.
    running: name of the version that is in use already, "" for none.
    problem: why the last look failed, "" when it did not; the next look tries again.
    """

    def __init__(self, folder: str | Path, running: str = "") -> None:
        self._store = StoreReader(folder)
        self._pointer = Path(folder) / POINTER_FILE
        self._seen: tuple[int, int] | None = None
        self.running = running
        self.problem = ""

    def poll(self) -> Version | None:
        """The version in use, once after each change; else None.

        Its file is there while it is current or previous: who takes longer than two promotions and a ``prune`` to load
        it finds it missing, and polls again.
        """
        try:
            status = self._pointer.stat()
            look = (status.st_mtime_ns, status.st_ino)
            if look == self._seen:
                return None
            version = self._store.current()
        except OSError as error:
            self._failed(f"{self._pointer}: {error.strerror}")
            return None
        except StoreError as error:
            self._failed(str(error))
            return None
        self._seen, self.problem = look, ""
        if version.name == self.running:
            return None
        self.running = version.name
        return version

    def again(self) -> None:
        """Has the next look say what is in use, be it new or not: it could not be taken."""
        self._seen, self.running = None, ""

    def _failed(self, problem: str) -> None:
        if problem != self.problem:
            logger.warning("weight store: %s", problem)
        self.problem = problem
