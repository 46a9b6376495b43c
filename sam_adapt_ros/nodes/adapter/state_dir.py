"""The adapter's state on disk: the weight store, and a folder inside of it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from typing import TYPE_CHECKING

from sam_adapt_ros.adaptation import WeightStore
from sam_adapt_ros.config import Config, find_weights
from sam_adapt_ros.io.atomic_write import remove_temporary, write_atomically
from sam_adapt_ros.io.lock import locked
from sam_adapt_ros.io.store_errors import store_errors
from sam_adapt_ros.nodes.adapter.resource_limits import limit_training_thread

if TYPE_CHECKING:
    from sam_adapt_ros.adaptation.adapter import Adapter

logger = logging.getLogger(__name__)


class StateDir:
    """A weight store, and in ``<store>/adapter`` what an ``Adapter`` keeps from process to process.

    The state belongs to that store's source model and was gathered for its weights, so moving or deleting the store
    moves or deletes it, too. One process at a time holds it; a kill frees it.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.store = WeightStore(config.adaptation.store.folder)
        self.folder = self.store.folder / "adapter"
        self._held = contextlib.ExitStack()

    def open(self) -> Adapter:
        """Creates what is missing, and resumes from what is there; to be called in the training thread.

        Raises StoreError, WeightsError or ConfigError that name the file or the parameter.
        """
        config = self._config
        limit_training_thread(config.adaptation.resources, config.segmenter.device)
        from sam_adapt_ros.adaptation.adapter import Adapter

        source = find_weights(config.segmenter.weights)
        with store_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(self.folder / ".lock", timeout_s=0.0))
            with store_errors(self.folder):
                remove_temporary(self.folder.iterdir())
            self.store.initialize(source)
            adapter = Adapter(config, self.store, self.folder)
            self._held.enter_context(stack.pop_all())
        before = f"round {adapter.rounds}" if adapter.rounds else "no round"
        mode, folder = config.adaptation.mode, self.store.folder
        logger.info(
            "learning (%s), weight store %s: %d frames and %s from earlier runs",
            mode,
            folder,
            len(adapter.buffer),
            before,
        )
        return adapter

    def close(self) -> None:
        """Frees it for the next process."""
        self._held.close()

    def check_writable(self) -> None:
        """Writes as much as a round may, and removes it: a round that cannot write its result is useless.

        Raises StoreError.
        """
        size = 2 * self.store.source().path.stat().st_size
        path = self.folder / "write-check.tmp"
        with store_errors(self.store.folder):
            disk = os.statvfs(self.folder)
            if disk.f_bavail * disk.f_frsize < 2 * size:  # the check itself must not fill the disk
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            try:
                write_atomically(path, bytes(size))
            finally:
                path.unlink(missing_ok=True)
