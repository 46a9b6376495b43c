"""What services ask of a thread that is busy: done between two of its steps, answered at once all the same."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from sam_adapt_ros.errors import SamAdaptError

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S = 1.0
"""Who asks waits no longer: a step (a frame's masks, say) may take many times that."""


class Answer(NamedTuple):
    """As ``std_srvs/Trigger`` has it."""

    success: bool
    message: str


@dataclass(eq=False)
class _Command:
    action: Callable[[], object]
    done: str  # what to answer then
    ends_round: bool
    answer: Answer | None = None
    answered: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        try:
            self.action()
            self.reply(Answer(True, self.done))
        except SamAdaptError as error:
            self.reply(Answer(False, str(error)))
        except Exception as error:
            logger.exception("a request failed")
            self.reply(Answer(False, f"{type(error).__name__}: {error}"))

    def reply(self, answer: Answer) -> None:
        self.answer = answer
        self.answered.set()


class Commands:
    """A queue of requests to one thread, and the bell that wakes it."""

    def __init__(self) -> None:
        self._waiting: deque[_Command] = deque()
        self._changed = threading.Condition()
        self._rung = False

    # For those who ask ------------------------------------------------------------------------------------------------

    def ask(self, action: Callable[[], object], done: str, ends_round: bool = False) -> Answer:
        """Has the thread run ``action``; returns ``done``, or the error, or after a second that it will be done.

        ends_round: the thread first leaves what it is in.
        """
        command = self.put(action, done, ends_round)
        if command.answered.wait(ANSWER_WITHIN_S):
            assert command.answer is not None
            return command.answer
        return Answer(True, "accepted: it is done once the step at hand is")

    def put(self, action: Callable[[], object], done: str = "", ends_round: bool = False) -> _Command:
        """The same without an answer."""
        command = _Command(action, done, ends_round)
        with self._changed:
            self._waiting.append(command)
        self.wake()
        return command

    def wake(self) -> None:
        """Ends a ``wait``, the next one if there is none."""
        with self._changed:
            self._rung = True
            self._changed.notify_all()

    # For the thread ---------------------------------------------------------------------------------------------------

    def serve(self, in_round: bool = False) -> bool:
        """Runs what was asked for, in order; False when it comes to something that ends the round that it is in."""
        while True:
            with self._changed:
                if not self._waiting:
                    return True
                if in_round and self._waiting[0].ends_round:
                    return False
                command = self._waiting.popleft()
            command.run()

    def wait(self, timeout: float) -> None:
        """Until ``wake`` or while nothing is asked for, at most ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._rung or self._waiting, timeout)
            self._rung = False

    def refuse(self, why: str) -> None:
        """Answers everything that waits."""
        with self._changed:
            waiting, self._waiting = list(self._waiting), deque()
        for command in waiting:
            command.reply(Answer(False, why))
