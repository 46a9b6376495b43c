"""Which images belong to which sweep. The same class decides it for live topics and for bags."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sam_adapt_ros.config import SyncConfig
from sam_adapt_ros.geometry.poses import SECOND
from sam_adapt_ros.messages.image_queue import CameraLiveness, Image, ImageQueue


@dataclass(frozen=True, eq=False)
class Match:
    """A sweep and the images that belong to it.

    stamp_ns, sweep: the sweep's stamp and payload.
    images: camera -> (stamp, payload), in the cameras' order; stamps with the camera's time offset added.
    missing: cameras without an image, in the same order.
    """

    stamp_ns: int
    sweep: Any
    images: dict[str, tuple[int, Any]]
    missing: tuple[str, ...]


@dataclass(eq=False)
class _Sweep:
    stamp_ns: int
    payload: Any
    arrival_ns: int
    decided: dict[str, Image | None] = field(default_factory=dict)  # by camera, once no better image can come


class TimeSynchronizer:
    """Gives each sweep the nearest image of each camera, in the order of sweep stamps.

    A sweep is matched as soon as no camera can send a better image, and at the latest ``camera_timeout`` after it
    came; then it goes on with the cameras that came. Better is impossible when an image at or after the sweep's stamp
    is there, or when the camera's rhythm puts its next image further away than the best one (or than the tolerance).
    A camera that several sweeps waited for in vain while it skipped several of its images (or, as long as its rhythm is
    unknown, for a second) is silent: not waited for any more, until an image of it is in time again, or would have
    been if waited for. An image may serve two sweeps.

    Every sweep ends in exactly one of ``on_match(match)`` and ``on_drop(reason, stamp_ns)``, reasons:
    ``stamp_zero``; ``out_of_order`` (not newer than the sweep before it, though less than ``max_backward_jump`` older);
    ``sync_queue_full`` (the oldest of more than ``queue_size`` waiting sweeps). A stamp that goes back further is a
    looping bag or a clock jump: the waiting sweeps go on with what came, and matching starts anew.

    ``counts`` has ``sweeps``, ``matched``, the drops by reason, ``clock_jump``, and what happened to images by camera:
    ``image_stamp_zero.<camera>``, ``image_duplicate.…``, ``image_clock_jump.…``, ``image_late.…`` (its sweep was gone),
    ``image_missing.…`` (a sweep went on without), ``camera_silent.…`` (how often it fell silent).

    Arrival times (``now_ns``) are of any steady clock, all of the same one. Callbacks run inside the call that caused
    them, one at a time, in order; an exception in one reaches the caller and loses nothing but that sweep.
    """

    def __init__(
        self,
        cameras: Mapping[str, float],
        config: SyncConfig,
        on_match: Callable[[Match], None],
        on_drop: Callable[[str, int], None],
    ) -> None:
        """cameras: name -> seconds added to the camera's stamps to bring them to the LiDAR's clock."""
        self._offsets = {name: round(offset * SECOND) for name, offset in cameras.items()}
        self._timeout = round(config.camera_timeout * SECOND)
        self._max_backward = round(config.max_backward_jump * SECOND)
        self._queue_size = config.queue_size
        self._tracks = {
            name: ImageQueue(round(config.camera_tolerance * SECOND), self._max_backward, 4 * config.queue_size)
            for name in cameras
        }
        self._presence = {name: CameraLiveness() for name in cameras}
        self._pending: deque[_Sweep] = deque()
        self._gone: deque[tuple[int, int, tuple[str, ...]]] = deque(maxlen=config.queue_size)  # stamp, arrival, missing
        self._newest: int | None = None  # newest sweep's stamp
        self._on_match = on_match
        self._on_drop = on_drop
        self._lock = threading.RLock()
        self.counts: Counter[str] = Counter()

    def add_sweep(self, stamp_ns: int, payload: Any, now_ns: int) -> None:
        """Takes a sweep that arrived at ``now_ns``."""
        with self._lock:
            self.counts["sweeps"] += 1
            if stamp_ns == 0:
                self._drop("stamp_zero", stamp_ns)
            elif self._newest is not None and stamp_ns < self._newest - self._max_backward:
                self._start_anew(stamp_ns)
                self._accept(stamp_ns, payload, now_ns)
            elif self._newest is not None and stamp_ns <= self._newest:
                self._drop("out_of_order", stamp_ns)
            else:
                self._accept(stamp_ns, payload, now_ns)
            self._match(now_ns)

    def add_image(self, camera: str, stamp_ns: int, payload: Any, now_ns: int) -> None:
        """Takes an image that arrived at ``now_ns``. Raises KeyError for a camera that was not named."""
        with self._lock:
            track = self._tracks[camera]
            if stamp_ns == 0:
                self.counts[f"image_stamp_zero.{camera}"] += 1
                return
            stamp_ns += self._offsets[camera]
            if track.jumps(stamp_ns):
                self.counts[f"image_clock_jump.{camera}"] += 1
                for sweep in self._pending:  # the images so far are the waiting sweeps' alone
                    sweep.decided.setdefault(camera, track.best(sweep.stamp_ns))
                track.start_anew()
            oldest_needed = self._pending[0].stamp_ns if self._pending else None
            if not track.add(stamp_ns, payload, oldest_needed):
                self.counts[f"image_duplicate.{camera}"] += 1
            self._notice(camera, stamp_ns, now_ns)
            self._match(now_ns)

    def tick(self, now_ns: int) -> None:
        """Lets the sweeps go on whose time is up. Call it at ``deadline()``."""
        with self._lock:
            self._match(now_ns)

    def deadline(self) -> int | None:
        """When the next waiting sweep's time is up, on the clock of ``now_ns``; None when none waits."""
        with self._lock:
            return self._pending[0].arrival_ns + self._timeout if self._pending else None

    def flush(self) -> None:
        """The end of a bag: every waiting sweep goes on with what came."""
        with self._lock:
            while self._pending:
                self._release(None)

    def _accept(self, stamp_ns: int, payload: Any, now_ns: int) -> None:
        self._newest = stamp_ns
        self._pending.append(_Sweep(stamp_ns, payload, now_ns))
        if len(self._pending) > self._queue_size:
            self._drop("sync_queue_full", self._pending.popleft().stamp_ns)

    def _match(self, now_ns: int) -> None:
        while self._pending:
            sweep = self._pending[0]
            timed_out = now_ns >= sweep.arrival_ns + self._timeout
            if not timed_out and any(self._worth_waiting(name, sweep) for name in self._tracks):
                return
            self._release(now_ns if timed_out else None)

    def _worth_waiting(self, camera: str, sweep: _Sweep) -> bool:
        if camera in sweep.decided or self._presence[camera].silent:
            return False
        track = self._tracks[camera]
        if track.may_improve(sweep.stamp_ns):
            return True
        sweep.decided[camera] = track.best(sweep.stamp_ns)
        return False

    def _release(self, timed_out_ns: int | None) -> None:
        """The oldest waiting sweep goes on with what came; timed_out_ns: now, if that is because its time is up."""
        sweep = self._pending.popleft()
        images: dict[str, tuple[int, Any]] = {}
        missing = []
        for name, track in self._tracks.items():
            waited = name not in sweep.decided
            image = track.best(sweep.stamp_ns) if waited else sweep.decided[name]
            if image is not None:
                images[name] = (image.stamp_ns, image.payload)
                self._presence[name].served()
                continue
            missing.append(name)
            self.counts[f"image_missing.{name}"] += 1
            if waited and timed_out_ns is not None and self._presence[name].missed(timed_out_ns, track.patience()):
                self.counts[f"camera_silent.{name}"] += 1
        self._gone.append((sweep.stamp_ns, sweep.arrival_ns, tuple(missing)))
        for track in self._tracks.values():
            track.forget_before(sweep.stamp_ns)
        self.counts["matched"] += 1
        self._on_match(Match(sweep.stamp_ns, sweep.payload, images, tuple(missing)))

    def _notice(self, camera: str, stamp_ns: int, now_ns: int) -> None:
        """Whether an image came in time for its sweep, which tells whether the camera is worth waiting for."""
        track = self._tracks[camera]
        for sweep_stamp, arrival, missing in self._gone:
            if camera in missing and track.belongs(stamp_ns, sweep_stamp):
                self.counts[f"image_late.{camera}"] += 1
                if now_ns <= arrival + self._timeout:
                    self._presence[camera].came(now_ns)
                return
        if self._newest is None or stamp_ns >= self._newest or track.belongs(stamp_ns, self._newest):
            self._presence[camera].came(now_ns)

    def _start_anew(self, stamp_ns: int) -> None:
        self.counts["clock_jump"] += 1
        self.flush()
        self._gone.clear()
        for track in self._tracks.values():
            track.forget_after(stamp_ns + self._max_backward)

    def _drop(self, reason: str, stamp_ns: int) -> None:
        self.counts[reason] += 1
        self._on_drop(reason, stamp_ns)
