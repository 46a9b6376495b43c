"""Which images belong to which sweep: an approximate-time synchronizer keyed by the LiDAR, for topics and bags alike.

Unlike ``message_filters::ApproximateTime`` it gives every sweep out, with the images of the cameras that came.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sam_adapt_ros.config import SyncConfig
from sam_adapt_ros.geometry.poses import SECOND
from sam_adapt_ros.messages.camera_timing import CameraTiming
from sam_adapt_ros.messages.image_queue import CameraLiveness, ImageQueue, StampedImage
from sam_adapt_ros.notices import Notices

_BEHIND_UNTIL_JUMP = 3  # sweeps that go back a little: a stray one is out of order, the third is a jump
_JUMP_WINDOW, _JUMPS_TOO_MANY = 20, 5  # sweeps; a short bag that loops goes back less often


@dataclass(frozen=True, eq=False)
class Match:
    """A sweep and the images that belong to it.

    stamp_ns, sweep: the sweep's stamp and payload.
    images: camera -> (stamp, payload), in the order of the cameras; the cameras' time offsets are added to the stamps.
    missing: cameras without an image, in the same order.
    """

    stamp_ns: int
    sweep: Any
    images: dict[str, tuple[int, Any]]
    missing: tuple[str, ...]


@dataclass(eq=False)
class _Sweep:
    """decided: image, or None for no image, of each camera that can send no better one any more."""

    stamp_ns: int
    payload: Any
    arrival_ns: int
    decided: dict[str, StampedImage | None] = field(default_factory=dict)


class TimeSynchronizer:
    """Matches each sweep with the nearest image of each camera, in the order of sweep stamps.

    A sweep is matched as soon as no camera can send a better image, and at the latest ``camera_timeout`` after it
    arrived, then with the cameras that came. No better image can come once there is one at or after the sweep's stamp,
    or when the camera's period puts its next image further away than the nearest one so far (or than the tolerance).
    A camera that several sweeps waited for in vain while it skipped several of its images (or, while its period is
    unknown, for a second) is silent: sweeps do not wait for it until an image of it is in time again, or would have
    been had a sweep waited. An image may belong to two sweeps.

    Every sweep ends in exactly one of ``on_match(match)`` and ``on_drop(reason, stamp_ns)``, reasons:
    ``stamp_zero``; ``out_of_order`` (not newer than the sweep before it, but less than ``max_backward_jump`` older);
    ``sync_queue_full`` (the oldest of more than ``queue_size`` waiting sweeps). A stamp that goes back further is a
    looping bag or a clock jump: the waiting sweeps are matched with what came, and matching starts anew. So it does
    where several sweeps in a row go back by less, as in a bag that loops within ``max_backward_jump``.

    ``counts`` has ``sweeps``, ``matched``, the drops by reason, ``clock_jump``, and what happened to images by camera:
    ``image_stamp_zero.<camera>``, ``image_duplicate.…``, ``image_clock_jump.…``, ``image_late.…`` (after its sweep was
    matched), ``image_missing.…`` (a sweep was matched without), ``camera_silent.…`` (how often it became silent).
    ``notices`` names each camera most of whose images belong to no sweep, with the reason, and sweeps whose stamps go
    back again and again.

    Arrival times (``now_ns``) are of one steady clock. Callbacks run inside the call that caused them, one at a time,
    in order; an exception in one reaches the caller and loses nothing but that sweep. Thread-safe.
    """

    def __init__(
        self,
        cameras: Mapping[str, float],
        config: SyncConfig,
        on_match: Callable[[Match], None],
        on_drop: Callable[[str, int], None],
        notices: Notices | None = None,
    ) -> None:
        """cameras: name -> seconds added to the camera's stamps to bring them to the LiDAR's clock."""
        self._offsets = {name: round(offset * SECOND) for name, offset in cameras.items()}
        self._timeout = round(config.camera_timeout * SECOND)
        self._max_backward = round(config.max_backward_jump * SECOND)
        self._queue_size = config.queue_size
        tolerance = round(config.camera_tolerance * SECOND)
        self._queues = {name: ImageQueue(tolerance, self._max_backward, 4 * config.queue_size) for name in cameras}
        self._liveness = {name: CameraLiveness() for name in cameras}
        self._timing = {name: CameraTiming(name, tolerance, offset) for name, offset in cameras.items()}
        self._notices = notices if notices is not None else Notices()
        self._pending: deque[_Sweep] = deque()
        # Stamp, arrival and missing cameras of the latest matches.
        self._matched: deque[tuple[int, int, tuple[str, ...]]] = deque(maxlen=config.queue_size)
        self._newest: int | None = None  # newest sweep's stamp
        self._went_back: deque[bool] = deque(maxlen=_JUMP_WINDOW)
        self._behind = 0  # sweeps older than that since it came
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
            elif self._out_of_order(stamp_ns):
                self._drop("out_of_order", stamp_ns)
            else:
                went_back = self._newest is not None and stamp_ns < self._newest
                if went_back:
                    self._start_anew(stamp_ns)
                self._note_jump(went_back)
                self._newest, self._behind = stamp_ns, 0
                self._pending.append(_Sweep(stamp_ns, payload, now_ns))
                if len(self._pending) > self._queue_size:
                    self._drop("sync_queue_full", self._pending.popleft().stamp_ns)
            self._match(now_ns)

    def add_image(self, camera: str, stamp_ns: int, payload: Any, now_ns: int) -> None:
        """Takes an image that arrived at ``now_ns``. Raises KeyError for an unknown camera."""
        with self._lock:
            queue = self._queues[camera]
            if stamp_ns == 0:
                self.counts[f"image_stamp_zero.{camera}"] += 1
                self._timing[camera].add_image(0, now_ns)
                return
            stamp_ns += self._offsets[camera]
            self._timing[camera].add_image(stamp_ns, now_ns)
            if queue.is_clock_jump(stamp_ns):
                self.counts[f"image_clock_jump.{camera}"] += 1
                for sweep in self._pending:  # only the images before the jump can belong to the waiting sweeps
                    sweep.decided.setdefault(camera, queue.nearest(sweep.stamp_ns))
                queue.clear()
            oldest_sweep = self._pending[0].stamp_ns if self._pending else None
            if not queue.add(stamp_ns, payload, oldest_sweep):
                self.counts[f"image_duplicate.{camera}"] += 1
            for sweep in self._pending:  # those that wait for another camera keep this one's image
                if sweep.stamp_ns <= stamp_ns and camera not in sweep.decided:
                    sweep.decided[camera] = queue.nearest(sweep.stamp_ns)
            self._update_liveness(camera, stamp_ns, now_ns)
            self._match(now_ns)

    def tick(self, now_ns: int) -> None:
        """Matches the sweeps whose time is up. To be called at ``deadline()``."""
        with self._lock:
            self._match(now_ns)

    def deadline(self) -> int | None:
        """When the next waiting sweep's time is up, on the clock of ``now_ns``; None when none waits."""
        with self._lock:
            return self._pending[0].arrival_ns + self._timeout if self._pending else None

    def flush(self) -> None:
        """Matches every waiting sweep with what came, as at the end of a bag."""
        with self._lock:
            while self._pending:
                self._release(None)

    def conclude(self) -> None:
        """No more messages will come: the notices become those of the whole stream, however short it was."""
        with self._lock:
            for name, timing in self._timing.items():
                if text := timing.conclusion():
                    self._notices.add(f"camera_sync:{name}", text)

    def _match(self, now_ns: int) -> None:
        while self._pending:
            sweep = self._pending[0]
            timed_out = now_ns >= sweep.arrival_ns + self._timeout
            if not timed_out and any(self._should_wait(name, sweep) for name in self._queues):
                return
            self._release(now_ns if timed_out else None)

    def _should_wait(self, camera: str, sweep: _Sweep) -> bool:
        if camera in sweep.decided or self._liveness[camera].silent:
            return False
        queue = self._queues[camera]
        if queue.may_improve(sweep.stamp_ns):
            return True
        sweep.decided[camera] = queue.nearest(sweep.stamp_ns)
        return False

    def _release(self, timed_out_ns: int | None) -> None:
        """Matches the oldest waiting sweep with what came. timed_out_ns: the time, if its time is up."""
        sweep = self._pending.popleft()
        images: dict[str, tuple[int, Any]] = {}
        missing = []
        for name, queue in self._queues.items():
            undecided = name not in sweep.decided
            image = queue.nearest(sweep.stamp_ns) if undecided else sweep.decided[name]
            liveness = self._liveness[name]
            if image is not None:
                images[name] = (image.stamp_ns, image.payload)
                liveness.matched()
            else:
                missing.append(name)
                self.counts[f"image_missing.{name}"] += 1
                if undecided and timed_out_ns is not None and liveness.timed_out(timed_out_ns, queue.silence_ns()):
                    self.counts[f"camera_silent.{name}"] += 1
            self._timing[name].add_sweep(sweep.stamp_ns, sweep.arrival_ns, matched=image is not None)
            self._notices.set(f"camera_sync:{name}", self._timing[name].problem(queue.silence_ns()))
        self._matched.append((sweep.stamp_ns, sweep.arrival_ns, tuple(missing)))
        for queue in self._queues.values():
            queue.remove_before(sweep.stamp_ns)
        self.counts["matched"] += 1
        self._on_match(Match(sweep.stamp_ns, sweep.payload, images, tuple(missing)))

    def _update_liveness(self, camera: str, stamp_ns: int, now_ns: int) -> None:
        """Notes whether an image came in time for its sweep."""
        queue = self._queues[camera]
        for sweep_ns, arrival_ns, missing in self._matched:
            if camera in missing and queue.matches(stamp_ns, sweep_ns):
                self.counts[f"image_late.{camera}"] += 1
                if now_ns <= arrival_ns + self._timeout:
                    self._liveness[camera].image_in_time(now_ns)
                return
        if self._newest is None or stamp_ns >= self._newest or queue.matches(stamp_ns, self._newest):
            self._liveness[camera].image_in_time(now_ns)

    def _out_of_order(self, stamp_ns: int) -> bool:
        if self._newest is None or not self._newest - self._max_backward <= stamp_ns <= self._newest:
            return False
        self._behind += stamp_ns < self._newest
        return self._behind < _BEHIND_UNTIL_JUMP

    def _start_anew(self, stamp_ns: int) -> None:
        self.counts["clock_jump"] += 1
        self.flush()
        self._matched.clear()
        for timing in self._timing.values():
            timing.start_anew()
        far = self._newest is not None and stamp_ns < self._newest - self._max_backward
        for queue in self._queues.values():
            queue.remove_after(stamp_ns + self._max_backward if far else stamp_ns)

    def _note_jump(self, went_back: bool) -> None:
        self._went_back.append(went_back)
        jumps = sum(self._went_back)
        self._notices.set(
            "sweep_stamps",
            f"point cloud: the stamps went back {jumps} times within {len(self._went_back)} sweeps, and matching with "
            "images started anew each time: do two drivers of different clocks publish on the topic, or is the clock "
            "set again and again?"
            if jumps >= _JUMPS_TOO_MANY
            else "",
        )

    def _drop(self, reason: str, stamp_ns: int) -> None:
        self.counts[reason] += 1
        self._on_drop(reason, stamp_ns)
