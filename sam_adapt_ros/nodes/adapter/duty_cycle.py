"""The cancellation token of the rounds: makes the training thread sleep or pause, and serves requests meanwhile."""

from __future__ import annotations

import time

from sam_adapt_ros.cancellation import CancellationToken, Cancelled
from sam_adapt_ros.nodes.adapter.request_queue import RequestQueue

_PAUSED_WAIT_S = 1.0


class DutyCycle(CancellationToken):
    """``check`` rests after each step so that work takes ``share`` of the time, and as long as ``paused`` is set.

    Requests are served meanwhile; one that ends the round raises Cancelled, and is served after the round has ended.
    """

    def __init__(self, requests: RequestQueue, share: float) -> None:
        super().__init__()
        self.paused = False
        self._requests, self._share = requests, share
        self._work_began = 0.0

    def begin(self) -> None:
        """Work begins now."""
        self._work_began = time.monotonic()

    def check(self) -> None:
        """Raises Cancelled when the round is to end."""
        worked = time.monotonic() - self._work_began
        rested_at = time.monotonic() + worked * (1 / self._share - 1)
        while True:
            super().check()
            if not self._requests.serve(in_round=True):
                raise Cancelled
            left = _PAUSED_WAIT_S if self.paused else rested_at - time.monotonic()
            if left <= 0:
                break
            self._requests.wait(left)
        self.begin()
