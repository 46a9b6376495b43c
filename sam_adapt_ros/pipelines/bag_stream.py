"""Several bags as one stream: one after the other, each with its own calibration, transforms and clock."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from sam_adapt_ros.bags import BagWriter
from sam_adapt_ros.bags.drive_maps import DriveMaps
from sam_adapt_ros.bags.rosbag2_folder import METADATA
from sam_adapt_ros.cancellation import NEVER, CancellationToken
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.evaluation.run_summary import RunSummary
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.io.whole_folder import take_place
from sam_adapt_ros.pipelines.bag_frames import bag_frames, count_sweeps
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization.run_report import PICTURES, evenly_spaced

logger = logging.getLogger(__name__)


class StreamFrame(NamedTuple):
    """A frame of one of the bags.

    waited: seconds that it was waited for. pictured: whether the report is to show it. summary: of its bag; takes what
    becomes of the frame. bag: its name, see ``BagStream.names``.
    """

    frame: Frame
    waited: float
    pictured: bool
    summary: RunSummary
    bag: str


class BagStream:
    """The frames of one bag or of several, in the order given, as often as asked.

    Stamps may begin anew in each bag; poses of different drives are kept apart (see ``DriveMaps``). Of several bags,
    one that cannot be read, or not to its end, is left out from there on, with a notice; of a single one that is an
    error.

    names: by bag; unique, for files and tables. parts: by name, the summaries of the latest pass.
    """

    def __init__(self, bags: Path | Sequence[Path], config: Config, taxonomy: Taxonomy) -> None:
        """Raises BagError when no bag can be read."""
        self.bags = as_list(bags)
        self.names = unique_names(self.bags)
        self.parts: dict[str, RunSummary] = {}
        self._config, self._taxonomy, self._maps = config, taxonomy, DriveMaps()
        self._unreadable: dict[str, str] = {}
        self._sweeps: dict[str, int] = {}
        for name, bag in zip(self.names, self.bags, strict=True):
            try:
                self._sweeps[name] = count_sweeps(bag, config)
            except BagError as error:
                self._unreadable[name] = str(error)
                if len(self._unreadable) == len(self.bags):
                    raise
                logger.warning("left out: %s", error)

    @property
    def title(self) -> str:
        """What it is a stream of, in a few words."""
        return self.names[0] if len(self.names) == 1 else f"{len(self.names)} bags, {self.names[0]} to {self.names[-1]}"

    @property
    def sweeps(self) -> int:
        """How many LiDAR messages the bags have together."""
        return sum(self._sweeps.values())

    def frames(self, progress: Progress = no_progress, token: CancellationToken = NEVER) -> Iterator[StreamFrame]:
        """One pass. token: cancelled, it ends with the present frame."""
        self.parts = {}
        pictured, before = evenly_spaced(self.sweeps, PICTURES), 0
        for number, (name, bag) in enumerate(zip(self.names, self.bags, strict=True)):
            if name not in self._sweeps:
                continue
            if token.cancelled:
                break
            summary = self.parts[name] = RunSummary(self._taxonomy)
            shown = {place - before for place in pictured}
            done = _after(progress, before, self.sweeps)
            try:
                for frame, waited, is_shown in bag_frames(bag, self._config, summary, done, token, shown):
                    yield StreamFrame(self._maps.place(number, frame), waited, is_shown, summary, name)
            except BagError as error:
                if len(self.bags) == 1:
                    raise
                summary.notices.add("bag_cut_short", f"the rest of it is left out: {error}")
            before += self._sweeps[name]

    def summary(self) -> RunSummary:
        """Of the latest pass, of all bags together; of several, ``facts`` names each with its own figures."""
        joined = RunSummary.joined(self._taxonomy, self.parts)
        joined.facts = {"bag": ", ".join(map(str, self.bags))}
        for name, text in self._unreadable.items():
            joined.notices.add(f"bag_left_out:{name.replace('.', '_')}", f"left out: {text}")
        if len(self.bags) > 1:
            joined.facts["bags"] = [self._facts(name, bag) for name, bag in zip(self.names, self.bags, strict=True)]
        return joined

    def _facts(self, name: str, bag: Path) -> dict[str, Any]:
        part = self.parts.get(name)
        if part is None:
            return {"name": name, "bag": str(bag), "frames_in": 0, "frames_labelled": 0}
        facts = part.as_dict()
        kept = ("frames_in", "frames_labelled", "dropped", "camera_images_unused", "notices", "miou")
        return {"name": name, "bag": str(bag), **{key: facts[key] for key in kept if key in facts}}


class LabelBags:
    """The labels that a run leaves: a bag, or of several bags a folder with one for each; a context manager.

    A folder takes its name when it is complete, as a bag does.
    """

    def __init__(self, path: Path, names: Sequence[str], *, force: bool) -> None:
        """path: of the bag or folder. names: of the bags. Raises BagError when the path is taken, see ``BagWriter``."""
        self._path, self._several = path, len(names) > 1
        self._writer: BagWriter | None = None
        self._of = names[0]
        self._stack = ExitStack()
        self._partial = path
        if not self._several:
            self._writer = BagWriter(path, force=force)
        elif path.exists() and not (force and _holds_bags(path)):
            raise BagError(f"{path} exists; choose another output" + (" or give --force" if _holds_bags(path) else ""))

    def __enter__(self) -> LabelBags:
        if self._writer is not None:
            self._stack.enter_context(self._writer)
        else:
            self._path.absolute().parent.mkdir(parents=True, exist_ok=True)
            place = tempfile.mkdtemp(prefix=f".{self._path.name}.partial-", dir=self._path.absolute().parent)
            self._partial = Path(place) / self._path.name
            self._partial.mkdir()
        return self

    def writer(self, name: str) -> BagWriter:
        """Of the labels of a bag; once the next one's is asked for, it is complete."""
        if self._writer is None or name != self._of:
            self._stack.close()
            self._writer, self._of = self._stack.enter_context(BagWriter(self._partial / name)), name
        return self._writer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stack.__exit__(kind, error, trace)
            if self._several and kind is None:
                take_place(self._partial, self._path, self._partial.with_name("replaced"))
        finally:
            if self._several:
                shutil.rmtree(self._partial.parent, ignore_errors=True)


def as_list(bags: Path | Sequence[Path]) -> list[Path]:
    """One bag or several."""
    return [bags] if isinstance(bags, Path) else list(bags)


def unique_names(bags: Sequence[Path]) -> list[str]:
    """The bags' own names; of bags with the same one, those after the first get a number."""
    names: list[str] = []
    for bag in bags:
        own = bag.name or bag.resolve().name
        number = next(n for n in range(1, len(bags) + 1) if (own if n == 1 else f"{own}-{n}") not in names)
        names.append(own if number == 1 else f"{own}-{number}")
    return names


def _holds_bags(path: Path) -> bool:
    """Whether the folder is a bag, or has nothing but bags in it."""
    return path.is_dir() and (
        (path / METADATA).is_file() or all((each / METADATA).is_file() for each in path.iterdir())
    )


def _after(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)
