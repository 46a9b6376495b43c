"""Parts of long work in processes of this machine.

``concurrent.futures`` ends all work when one of its processes dies, and cannot tell whose part killed it; here the part
is given to another process, and the others go on.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from sam_adapt_ros.parallel.engine import Outcomes, Report
from sam_adapt_ros.parallel.shard import ATTEMPTS, Function, Shard, attempt, lost

_REPORT_EVERY_S = 0.2
_CLEAN_UP_S = 5.0  # that a worker without work has, to remove what it has in the temporary folder
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class LocalProcesses:
    """``workers`` processes, which share the cores and the GPUs of this machine.

    They end with this process, however it ends. What they log, this process logs.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, function: Function[Any], shards: Sequence[Shard[Any]], folder: Path, report: Report) -> Outcomes:
        waiting = deque(range(len(shards)))
        deaths: Counter[int] = Counter()
        idle = deque(_Worker(number, self.workers, function) for number in range(min(self.workers, len(shards))))
        busy: dict[Connection, _Worker] = {}
        try:
            while waiting or busy:
                while waiting and idle:
                    worker = idle.popleft()
                    place = waiting.popleft()
                    worker.begin(place, shards[place], folder)
                    busy[worker.connection] = worker
                for ready in wait(list(busy)):
                    assert isinstance(ready, Connection)
                    worker = busy[ready]
                    try:
                        message = ready.recv()
                    except (EOFError, OSError):
                        del busy[ready]
                        why, place = worker.end(wait_s=1), worker.place
                        idle.append(_Worker(worker.number, self.workers, function))
                        deaths[place] += 1
                        if deaths[place] < ATTEMPTS:
                            waiting.appendleft(place)
                            logging.getLogger(__name__).warning(
                                "%s: its worker died (%s); done again by another one", shards[place].name, why
                            )
                        else:
                            yield place, lost(shards[place].name, why)
                        continue
                    if isinstance(message, logging.LogRecord):
                        logging.getLogger(message.name).handle(message)
                    elif isinstance(message, tuple):
                        report(worker.place, *message)
                    else:
                        idle.append(busy.pop(ready))
                        yield worker.place, message
        finally:
            for worker in busy.values():
                worker.end()
            for worker in idle:
                worker.connection.close()
            for worker in idle:
                worker.end(wait_s=_CLEAN_UP_S)


class _Worker:
    """A process, and the place of the part that it does."""

    def __init__(self, number: int, workers: int, function: Function[Any]) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        self.number, self.place = number, -1
        self.connection, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=_work, args=(theirs, number, workers), daemon=True, name=f"worker-{number}"
        )
        self._process.start()
        theirs.close()  # the end of the process is then the end of the connection
        self._send(function)

    def begin(self, place: int, shard: Shard[Any], folder: Path) -> None:
        self.place = place
        self._send((shard.work, folder / shard.name))

    def end(self, wait_s: float = 0) -> str:
        """Ends the process; returns how it ended. wait_s: for one that is about to end by itself."""
        self._process.join(wait_s)
        self._process.terminate()
        self._process.join()
        self.connection.close()
        code = self._process.exitcode or 0
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _send(self, message: Any) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # its death is seen when its answer is waited for
            self.connection.send(message)


def _work(connection: Connection, number: int, workers: int) -> None:
    """A worker's process: does one part after the other until the connection is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which a terminal sends to all: the parent decides
    for name in _THREADS:  # before the libraries are loaded, with the function
        os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // workers)))
    sending = threading.Lock()

    def send(message: Any) -> None:
        with sending:
            connection.send(message)

    logging.getLogger().addHandler(_Forward(send))
    logging.getLogger("sam_adapt_ros").setLevel(logging.INFO)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        function = connection.recv()
        _use_gpu(number)
        while True:
            work, output = connection.recv()
            send(attempt(function, work, output, _Sender(send)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _use_gpu(number: int) -> None:
    """Spreads workers that compute with torch over the GPUs."""
    torch = sys.modules.get("torch")
    if torch is not None and (gpus := torch.cuda.device_count()) > 1:
        torch.cuda.set_device(number % gpus)


class _Sender:
    """A ``Progress`` that is sent, at most a few times a second."""

    def __init__(self, send: Any) -> None:
        self._send, self._last = send, 0.0

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._last >= _REPORT_EVERY_S:
            self._last = time.monotonic()
            self._send((done, total))


class _Forward(logging.Handler):
    """Sends log records, their message made, since arguments may not be picklable."""

    def __init__(self, send: Any) -> None:
        super().__init__()
        self._send_record = send

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = self.format(record), None, None
        with suppress(OSError):
            self._send_record(record)
