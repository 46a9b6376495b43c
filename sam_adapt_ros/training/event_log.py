"""The course of a training run as TensorBoard's event files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

PATTERN = "events.out.tfevents.*"
"""Of the files' names, which TensorBoard looks for."""


class EventLog:
    """Event files in a folder; used as a context manager. Nothing is written where TensorBoard is not installed, which
    is said."""

    def __init__(self, folder: Path | None, done: int) -> None:
        """folder: None for a process that writes none. done: the iterations before this run: 0 removes an earlier run's
        files, and what an interrupted run wrote of later ones is not shown."""
        self._writer: SummaryWriter | None = None
        if folder is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            logger.info("no event files for TensorBoard: pip install 'sam_adapt_ros[train]'")
            return
        if not done:
            for earlier in folder.glob(PATTERN):
                earlier.unlink()
        self._writer = SummaryWriter(str(folder), purge_step=done + 1)  # type: ignore[no-untyped-call]

    def add(self, group: str, values: Mapping[str, float], iteration: int) -> None:
        """Scalars, shown as ``group/name``."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, iteration)  # type: ignore[no-untyped-call]

    def flush(self) -> None:
        """Makes what was added visible."""
        if self._writer is not None:
            self._writer.flush()  # type: ignore[no-untyped-call]

    def __enter__(self) -> EventLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()  # type: ignore[no-untyped-call]
