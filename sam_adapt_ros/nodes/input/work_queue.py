"""A thread that takes items from a bounded queue. The newest frames matter: when it is full, the oldest is dropped."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from sam_adapt_ros.errors import MessageError, NetworkError, SamAdaptError

T = TypeVar("T")


class WorkQueue(Generic[T]):
    """process: called with each item, one at a time, in order; the thread survives whatever it raises.

    on_drop: called with (item, reason, details): ``overload`` when the queue is full, ``stopped`` for what waits when
    it ends; when ``process`` raised, the reason of a MessageError or a NetworkError, else ``internal_error``, with the
    error's text.
    name: of the thread. prepare: called in it before the first item; the constructor waits for its end, and raises
    what it raises.
    """

    def __init__(
        self,
        process: Callable[[T], None],
        queue_size: int,
        on_drop: Callable[[T, str, str], None],
        name: str = "worker",
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.queue_size = queue_size
        self._process, self._on_drop = process, on_drop
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        prepared: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(prepare, prepared), name=name, daemon=True)
        self._thread.start()
        prepared.result()

    def put(self, item: T) -> None:
        """Never blocks."""
        with self._changed:
            self._items.append(item)
            surplus = [self._items.popleft() for _ in range(len(self._items) - self.queue_size)]
            refused = self._take_all() if self._stopped else []
            self._changed.notify()
        for dropped in surplus:
            self._on_drop(dropped, "overload", "")
        for dropped in refused:
            self._on_drop(dropped, "stopped", "")

    def stop(self, timeout: float = 10.0) -> bool:
        """Lets the item in work finish and drops those that wait. False when it did not finish in time (seconds)."""
        with self._changed:
            self._stopped = True
            waiting = self._take_all()
            self._changed.notify()
        for item in waiting:
            self._on_drop(item, "stopped", "")
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _take_all(self) -> list[T]:
        items = list(self._items)
        self._items.clear()
        return items

    def _run(self, prepare: Callable[[], None] | None, prepared: Future[None]) -> None:
        try:
            if prepare is not None:
                prepare()
        except Exception as error:
            prepared.set_exception(error)
            return
        prepared.set_result(None)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._stopped)
                if self._stopped:
                    return
                item = self._items.popleft()
            try:
                self._process(item)
            except Exception as error:
                reason = error.reason if isinstance(error, MessageError | NetworkError) else "internal_error"
                text = str(error) if isinstance(error, SamAdaptError) else f"{type(error).__name__}: {error}"
                self._on_drop(item, reason, text)
            del item  # images are large: not kept until the next frame
