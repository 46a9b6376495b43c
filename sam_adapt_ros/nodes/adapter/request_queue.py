"""Requests of services to the training thread: served between two of its steps, answered within a second."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, TimeoutError
from dataclasses import dataclass, field
from typing import NamedTuple

from sam_adapt_ros.errors import SamAdaptError

logger = logging.getLogger(__name__)

MAX_ANSWER_TIME_S = 1.0
"""A step (a frame's masks, for example) may take many times that."""


class Answer(NamedTuple):
    """As ``std_srvs/Trigger`` has it."""

    success: bool
    message: str


@dataclass(eq=False)
class Request:
    """action: run in the thread. done: the message of the answer then. ends_round: the thread first leaves the round
    that it is in."""

    action: Callable[[], object]
    done: str = ""
    ends_round: bool = False
    answer: Future[Answer] = field(default_factory=Future)

    def run(self) -> None:
        try:
            self.action()
            self.answer.set_result(Answer(True, self.done))
        except SamAdaptError as error:
            self.answer.set_result(Answer(False, str(error)))
        except Exception as error:
            logger.exception("a request failed; the adapter goes on")
            self.answer.set_result(Answer(False, f"{type(error).__name__}: {error}"))


class RequestQueue:
    """Requests to one thread, which ``wait`` wakes up for."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        self._changed = threading.Condition()

    # For other threads ------------------------------------------------------------------------------------------------

    def ask(self, action: Callable[[], object], done: str, ends_round: bool = False) -> Answer:
        """Has the thread run ``action``; returns ``done``, or the error, or after a second that it will be done."""
        try:
            return self.put(action, done, ends_round).result(MAX_ANSWER_TIME_S)
        except TimeoutError:
            return Answer(True, "accepted: it is done once the present step ends")

    def put(self, action: Callable[[], object], done: str = "", ends_round: bool = False) -> Future[Answer]:
        """The same without waiting for the answer."""
        request = Request(action, done, ends_round)
        with self._changed:
            self._waiting.append(request)
            self._changed.notify_all()
        return request.answer

    def wake(self) -> None:
        """Ends the present ``wait``, or the next one."""
        self.put(lambda: None)

    # For the thread ---------------------------------------------------------------------------------------------------

    def serve(self, in_round: bool = False) -> bool:
        """Runs the requests in order; False when it comes to one that ends the round that the thread is in."""
        while True:
            with self._changed:
                if not self._waiting:
                    return True
                if in_round and self._waiting[0].ends_round:
                    return False
                request = self._waiting.popleft()
            request.run()

    def wait(self, timeout: float) -> None:
        """Until there is a request, at most ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting, timeout)

    def refuse(self, why: str) -> None:
        """Answers everything that waits."""
        with self._changed:
            waiting, self._waiting = list(self._waiting), deque()
        for request in waiting:
            request.answer.set_result(Answer(False, why))
