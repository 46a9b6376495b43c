"""The frame buffer: a bounded selection of the drive to learn from, and a part of it that is never learned from."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.adaptation.buffer.continuous_odometry import ContinuousOdometry
from sam_adapt_ros.adaptation.buffer.eviction import DISTANCE_SCALE, BoundedFrameSet, BufferEntry, FrameTraits
from sam_adapt_ros.adaptation.buffer.frame_sequence import FrameSequence
from sam_adapt_ros.adaptation.buffer.frame_summary import FrameSummary
from sam_adapt_ros.adaptation.buffer.movement import MovementGate
from sam_adapt_ros.adaptation.buffer.split_scale import SplitScale, split_finely
from sam_adapt_ros.adaptation.buffer.stored_frame import ImageStorage, StoredFrame
from sam_adapt_ros.config import BufferConfig
from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry.transforms import Transform
from sam_adapt_ros.io.arrays import load_arrays, save_arrays
from sam_adapt_ros.io.atomic_write import is_temporary
from sam_adapt_ros.io.store_errors import store_errors

logger = logging.getLogger(__name__)

NEWS = 0.05
"""Least distance of a frame's descriptor to those of the frames kept nearby, for a frame of a standing vehicle to show
something new. In a street of San Francisco sweeps of the standing vehicle are 0.01 to 0.03 apart, sweeps 1 m apart 0.03
and those 2.5 to 5 m apart 0.05; in the simulated town those 2.5 to 5 m apart 0.06 to 0.11."""
_INDEX = "index.npz"
_FORMAT = 2


class Admission(NamedTuple):
    """What the buffer has computed from the stamp and pose of a frame that it considers.

    position: (2,) metres on the map. held_out: whether the frame is for evaluation instead of training. moved: whether
    the vehicle has moved since the last frame; where it has not, only a frame that shows something new is kept.
    """

    position: NDArray[np.float64]
    held_out: bool
    moved: bool = True


class FrameBuffer:
    """Keeps the most useful frames of a drive, within limits on their number and bytes (see ``eviction``).

    A share of the places driven through is held out: no frame ever returned by ``training`` is nearer to one of
    ``held_out`` than ``config.split_gap`` metres, whatever was evicted meanwhile (see ``SpatialSplit``). The choice
    depends on the drive and the seed alone. Without odometry, a second lap is not recognized. A drive that is too short
    for that can be split more finely before anything is learned, see ``fit_split``.

    A frame comes in two steps: ``admit``, by stamp and pose, so that a frame that is passed over need not be decoded;
    then, where its content is fit to learn from, ``add``. ``admit`` is called for every frame of the stream, in order,
    whether it comes from topics or from a bag: so both keep the same frames.

    Kept of a frame: finite points (float32), labels, poses, compressed images. May be used from several threads.
    counts: frames by what became of them: ``kept``, or why not: ``standing`` (neither moved, see ``MovementGate``, nor
    showing something new), ``near_border``, ``redundant``, ``too_large``.
    """

    def __init__(self, config: BufferConfig) -> None:
        self.config = config
        self.counts: Counter[str] = Counter()
        self._storage = ImageStorage(config.image_format, max_height=config.max_image_height)
        self._lock = threading.RLock()
        self._saved: tuple[Path, set[int]] | None = None
        self._scale = SplitScale()
        self._split = self._scale.split(config)
        self._movement = MovementGate(config.min_distance)
        self._odometry = ContinuousOdometry()
        self._next_key = 0
        self._admitted = 0
        self.clear()

    def clear(self) -> None:
        """Forgets the frames, but not which places are held out: the model may have learned from the others."""
        with self._lock:
            self._sets = self._empty_sets()
            self._movement.forget_considered()

    def place(self, stamp_ns: int, T_odom_lidar: Transform | None) -> Transform | None:
        """The pose (4, 4) on the map, for live streams, whose odometry may begin anew, see ``ContinuousOdometry``: to
        be called before ``admit``, which takes the result, as the frame does. Bags are kept apart by ``DriveMaps``,
        which takes each of them for one drive."""
        with self._lock:
            return self._odometry.place(stamp_ns, T_odom_lidar)

    def admit(self, stamp_ns: int, T_odom_lidar: Transform | None) -> Admission | None:
        """The admission of the frame of this stamp and pose; None, and counted, when the frame is passed over.

        To be called once for every frame of the stream, in order. An admitted frame is considered, whatever its content
        turns out to be: the next one is admitted ``config.min_distance`` further on, or, while the vehicle stands,
        a second later.
        """
        with self._lock:
            moved = self._movement.has_moved(stamp_ns, T_odom_lidar)
            if not (moved or self._movement.is_look_due):
                self.counts["standing"] += 1
                return None
            position = self._movement.position
            held_out = self._split.is_held_out(self._scale.place(position, stamp_ns))
            if held_out is None:
                self.counts["near_border"] += 1
                return None
            if moved:
                self._movement.consider()
            else:
                self._movement.look()
            self._admitted += 1
            return Admission(position, held_out, moved)

    def add(self, frame: Frame, summary: FrameSummary, admission: Admission | None = None) -> bool:
        """Offers a frame; True when it is kept (for now: a better one may take its place).

        admission: what ``admit`` gave for this frame; None: ``admit`` has not been called, and is called now.
        """
        with self._lock:
            admission = admission or self.admit(frame.stamp_ns, frame.T_odom_lidar)
            if admission is None:
                return False
            outcome = self._offer(frame, summary, admission)
            self.counts[outcome] += 1
            return outcome == "kept"

    def training(self) -> FrameSequence:
        """The training frames, oldest first."""
        with self._lock:
            return FrameSequence(self._sets[False].entries)

    def held_out(self) -> FrameSequence:
        """The held-out frames, which must not be learned from, oldest first."""
        with self._lock:
            return FrameSequence(self._sets[True].entries)

    def entries(self) -> list[BufferEntry]:
        """Every frame, held-out ones included, oldest first."""
        with self._lock:
            return sorted((entry for each in self._sets.values() for entry in each.entries), key=lambda e: e.key)

    def adopt(self, frame: StoredFrame, traits: FrameTraits) -> bool:
        """Offers a frame that another buffer has kept, of another vehicle for one; True when it is kept (for now).

        frame, traits: with poses and position on this buffer's map, which decides what is held out. All such frames are
        equally recent.
        """
        with self._lock:
            held_out = self._split.is_held_out(self._scale.place(traits.position, frame.stamp_ns))
            if held_out is None:
                self.counts["near_border"] += 1
                return False
            self._next_key += 1
            entry = BufferEntry(self._next_key, frame, replace(traits, admitted=self._admitted))
            kept = self._sets[held_out].add(entry)
            self.counts["kept" if kept else "redundant"] += 1
            return kept

    def fit_split(self, training: int, held_out: int) -> str:
        """Splits what is kept of a short drive more finely, so that so many frames are learned from and held out.

        Only for frames that nothing has been learned from. Other choices of the held-out blocks are tried, then blocks
        of half the side, a quarter, an eighth; where the vehicle has hardly moved, blocks of time instead of places.
        Later frames are split in the same way.

        Returns the blocks in words; "" where no split is fine enough, and nothing has changed.
        """
        with self._lock:
            entries = self.entries()
            frames = [(entry.traits.position, entry.frame.stamp_ns) for entry in entries]
            finer = split_finely(self.config, frames, training, held_out)
            if finer is None:
                return ""
            self._scale, self._split = finer.scale, finer.split
            self._sets = self._empty_sets()
            for entry, kind in zip(entries, finer.kinds, strict=True):
                if kind is None:
                    self.counts.update({"kept": -1, "near_border": 1})
                else:
                    self._sets[kind].add(entry)
            return self._scale.describe(self.config.split_block)

    def __len__(self) -> int:
        with self._lock:
            return sum(len(frames.entries) for frames in self._sets.values())

    @property
    def nbytes(self) -> int:
        """Bytes of the frames; at most ``config.max_megabytes``."""
        with self._lock:
            return sum(frames.nbytes for frames in self._sets.values())

    @property
    def distance_driven(self) -> float:
        """Metres, of all frames that ``admit`` was called for."""
        return self._movement.distance

    # State ------------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Writes the state to a folder: a file a frame, written once, and an index, replaced when all are there.

        A kill at any instant leaves the state before or the new one. Raises StoreError that names the file.
        """
        folder = Path(folder)
        with self._lock:
            entries = {entry.key: (entry, kind) for kind, frames in self._sets.items() for entry in frames.entries}
            arrays, facts = self._index(entries)
            saved = self._saved[1] if self._saved and self._saved[0] == folder else set()
        with store_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for key in entries.keys() - saved:
            entries[key][0].frame.save(_file(folder, key))
        save_arrays(folder / _INDEX, arrays, facts)
        with self._lock:
            self._saved = (folder, set(entries))
        _remove_others(folder, set(entries))

    @classmethod
    def load(cls, folder: str | Path, config: BufferConfig) -> FrameBuffer:
        """The buffer that ``save`` wrote; frames whose files are damaged are left out, and logged.

        Raises:
            StoreError: that names the file: ``missing``; ``damaged``; ``refused`` when places were held out by other
                parameters than the configuration's, so that it would no longer be known what was learned from.
        """
        folder = Path(folder)
        arrays, facts = load_arrays(folder / _INDEX)
        buffer = cls(config)
        try:
            if facts["format"] != _FORMAT:
                raise StoreError("damaged", f"{folder / _INDEX}: format: {_FORMAT} expected, got {facts['format']!r}")
            split = buffer._split_parameters
            if facts["split"] != split:
                raise StoreError("refused", f"{folder / _INDEX}: split by {facts['split']}, not by {split}")
            buffer._restore(folder, arrays, facts)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise StoreError(
                "damaged", f"{folder / _INDEX}: not a buffer's index ({type(error).__name__}: {error})"
            ) from None
        # Files that a killed process left behind have keys that are about to be given again.
        with contextlib.suppress(StoreError):
            _remove_others(folder, buffer._saved[1] if buffer._saved else set())
        return buffer

    # Inside -----------------------------------------------------------------------------------------------------------

    def _empty_sets(self) -> dict[bool, BoundedFrameSet]:
        """For training, and held out."""
        config = self.config
        held_out = max(1, round(config.max_frames * config.held_out)) if config.held_out else 0
        total = int(config.max_megabytes * 1e6)
        held_out_bytes = int(total * config.held_out)
        return {
            False: BoundedFrameSet(config, config.max_frames - held_out, total - held_out_bytes),
            True: BoundedFrameSet(config, held_out, held_out_bytes),
        }

    def _shows_news(self, summary: FrameSummary, position: NDArray[np.float64]) -> bool:
        """Whether a frame looks unlike all that are kept of its surroundings."""
        kept = [entry.traits for each in self._sets.values() for entry in each.entries]
        near = [each for each in kept if np.linalg.norm(each.position - position) < DISTANCE_SCALE]
        return all(np.linalg.norm(each.descriptor - summary.descriptor) >= NEWS for each in near)

    def _offer(self, frame: Frame, summary: FrameSummary, admission: Admission) -> str:
        if not (admission.moved or self._shows_news(summary, admission.position)):
            return "standing"
        traits = FrameTraits(admission.position, summary.descriptor, summary.histogram, self._admitted)
        frames = self._sets[admission.held_out]
        if not frames.would_keep(traits):
            return "redundant"
        stored = StoredFrame.encode(frame, self._storage)
        if stored.nbytes > frames.max_bytes:
            return "too_large"
        self._next_key += 1
        return "kept" if frames.add(BufferEntry(self._next_key, stored, traits)) else "redundant"

    @property
    def _split_parameters(self) -> list[float]:
        config = self.config
        return [config.held_out, config.split_block, config.split_gap, config.seed]

    def _index(self, entries: dict[int, tuple[BufferEntry, bool]]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        traits = [entry.traits for entry, _ in entries.values()]
        arrays: dict[str, NDArray[Any]] = {
            "keys": np.array(list(entries), np.int64),
            "held_out": np.array([kind for _, kind in entries.values()], bool),
            "admitted": np.array([each.admitted for each in traits], np.int64),
            **{f"split_{name}": array for name, array in self._split.state().items()},
        }
        if traits:
            for name in ("position", "descriptor", "histogram"):
                arrays[name] = np.stack([getattr(each, name) for each in traits])
        facts = {
            "format": _FORMAT,
            "split": self._split_parameters,
            "scale": astuple(self._scale),
            "next_key": self._next_key,
            "admitted": self._admitted,
            "movement": self._movement.state(),
            "odometry": self._odometry.state(),
            "counts": dict(self.counts),
        }
        return arrays, facts

    def _restore(self, folder: Path, arrays: dict[str, NDArray[Any]], facts: dict[str, Any]) -> None:
        self._scale = SplitScale(*facts.get("scale", ()))  # earlier versions had none
        self._split = self._scale.split(self.config)
        self._split.restore({name: arrays[f"split_{name}"] for name in ("squares", "entered")})
        self._next_key, self._admitted = facts["next_key"], facts["admitted"]
        self._movement.restore(facts["movement"])
        if "odometry" in facts:  # earlier versions took all drives for one
            self._odometry.restore(facts["odometry"])
        self.counts = Counter(facts["counts"])
        for place, key in enumerate(arrays["keys"].tolist()):
            try:
                frame = StoredFrame.load(_file(folder, key))
            except StoreError as error:
                logger.warning("a stored frame cannot be read, the buffer goes on without it: %s", error)
                continue
            traits = FrameTraits(
                arrays["position"][place],
                arrays["descriptor"][place],
                arrays["histogram"][place],
                int(arrays["admitted"][place]),
            )
            self._sets[bool(arrays["held_out"][place])].add(BufferEntry(key, frame, traits))
        self._saved = (folder, {entry.key for frames in self._sets.values() for entry in frames.entries})


def _file(folder: Path, key: int) -> Path:
    return folder / f"frame-{key:08d}.npz"


def _remove_others(folder: Path, keys: set[int]) -> None:
    kept = {_file(folder, key) for key in keys}
    with store_errors(folder):
        for path in folder.iterdir():
            if is_temporary(path) or (path.name.startswith("frame-") and path not in kept):
                path.unlink(missing_ok=True)
