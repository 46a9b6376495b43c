"""Log messages that would otherwise repeat with every sweep."""

from __future__ import annotations

import time
from typing import Any

FIRST_PERIOD_S, LONGEST_PERIOD_S = 5.0, 300.0


class ThrottledLogger:
    """Logs a repeated message at once, then ever more rarely: after 5 s, 10 s, ..., 300 s. For use by any thread."""

    def __init__(self, logger: Any) -> None:
        """logger: rclpy's or Python's; anything with ``info`` and ``warning``."""
        self._logger = logger
        self._next: dict[
            str, tuple[float, float]
        ] = {}  # by message: when it may be logged again, the period after that

    def warning(self, message: str, details: str = "") -> None:
        """details: of this occurrence; messages that differ in nothing else are the same."""
        if self._is_due(message):
            self._logger.warning(message + details)

    def info(self, message: str) -> None:
        if self._is_due(message):
            self._logger.info(message)

    def _is_due(self, message: str) -> bool:
        now = time.monotonic()
        due, period = self._next.get(message, (now, FIRST_PERIOD_S))
        if now < due:
            return False
        if now - due > LONGEST_PERIOD_S:  # it had stopped
            period = FIRST_PERIOD_S
        self._next[message] = (now + period, min(2 * period, LONGEST_PERIOD_S))
        return True
