"""Small weights for the store's tests, and the writer process that they kill."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import torch

from sam_adapt_ros.adaptation import Record, WeightStore
from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.segmentation.weights import Weights

SOURCE_SEED = -1


def make_weights(seed: int, size: int = 64, **changes) -> Weights:
    generator = torch.Generator().manual_seed(seed & 0xFFFFFFFF)
    state = {
        "image.weight": torch.randn(size, 3, generator=generator),
        "image.bias": torch.randn(size, generator=generator),
        "points.count": torch.tensor(seed),
    }
    weights = Weights(state, "town", ("road", "building"), ArchitectureConfig(), created="2026-01-01T00:00:00+00:00")
    return replace(weights, **changes)


def work(store: WeightStore, log: int, seed: int, rounds: int = 1_000_000) -> None:
    """Every change that the store knows, over and over; what is about to happen and what did goes to ``log``."""
    for number in range(rounds):
        # Where others change the store too, a step may be refused: the next round goes on.
        with contextlib.suppress(StoreError):
            work_once(store, log, seed * 1000 + number * 10)


def work_once(store: WeightStore, log: int, seed: int) -> None:
    def say(*words: str) -> None:
        REAL_WRITE(log, (" ".join(words) + "\n").encode())

    for step in range(2):
        version = store.add(make_weights(seed + step), Record(frames=step))
        say("before", store.pointer().current, version.name)
        store.promote(version)
        say("after", version.name)
    pointer = store.pointer()
    say("before", pointer.current, pointer.previous)
    store.rollback(of=pointer.current)
    say("after", pointer.previous)
    store.reject(version.name, "for the test")
    pointer = store.pointer()
    say("before", pointer.current, pointer.previous)
    store.reject(pointer.current, "for the test")
    say("after", pointer.previous)
    store.prune(1)


REAL_WRITE = os.write
_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.utime", "os.chmod", "fcntl.flock")


def die_at(count: int) -> None:
    """Has this process killed at the ``count``-th thing that it does to the file system; a write is cut in half."""
    left = count

    def die_now() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    def hook(event: str, arguments: tuple) -> None:
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return  # what only reads leaves no trace
        if event in _EVENTS and die_now():
            os.kill(os.getpid(), signal.SIGKILL)

    def write(descriptor: int, data: bytes) -> int:
        if die_now():
            REAL_WRITE(descriptor, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return REAL_WRITE(descriptor, data)

    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        if die_now():
            os.kill(os.getpid(), signal.SIGKILL)
        real_fsync(descriptor)

    os.write, os.fsync = write, fsync
    sys.addaudithook(hook)


def serve() -> None:
    """Forks a writer a line ``FOLDER LOG SEED DIE_AT ROUNDS``, so that importing torch is paid once."""
    torch.set_num_threads(1)
    store = WeightStore("unused")
    store.versions()
    print("ready", flush=True)
    for line in sys.stdin:
        folder, log_path, seed, count, rounds = line.split()
        child = os.fork()
        if child == 0:
            log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            store = WeightStore(Path(folder))
            if int(count):
                die_at(int(count))
            try:
                work(store, log, int(seed), int(rounds))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    serve()
