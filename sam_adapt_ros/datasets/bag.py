"""Bags as a data set: the frames that ``BagReader`` gives, in any order and from any process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sam_adapt_ros.bags import BagReader, MessageReader
from sam_adapt_ros.bags.clips import find_bags
from sam_adapt_ros.config import Config, find_preset
from sam_adapt_ros.datasets.dataset import Dataset
from sam_adapt_ros.datasets.selection import Selection, split_members
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.notices import Notices, describe_counts
from sam_adapt_ros.taxonomy import Taxonomy


class _Sweep(NamedTuple):
    """bag: its number. stamp_ns, log_time_ns: of the sweep."""

    bag: int
    stamp_ns: int
    log_time_ns: int


class Bags(Dataset):
    """The usable sweeps of bags with what belongs to them. A frame's id is ``<bag>/<stamp in nanoseconds>``."""

    name = "bag"

    def __init__(
        self,
        roots: Sequence[str | Path],
        selection: Selection = Selection(),
        taxonomy: Taxonomy | None = None,
        notices: Notices | None = None,
        *,
        config: Config | None = None,
    ) -> None:
        """roots: bags, or folders of bags. config: names the topics and the mapping of the labels' ids; None: the
        preset that fits each bag's topics. notices: is told what is missing.

        All clouds are read, to find those that give no frame. Raises BagError that names the bag, and TaxonomyError
        when the class set has no mapping of that name.
        """
        self.taxonomy = taxonomy
        notices = Notices() if notices is None else notices
        split_members({}, selection.split, self.name)
        where = ", ".join(map(str, roots))
        bags: dict[str, Path] = {}
        for bag in find_bags(roots):
            if bags.setdefault(bag.name, bag) != bag:
                raise BagError(f"{bag}: has the name of {bags[bag.name]}; a frame's id is of its bag's name")
        self._bags = [bags[name] for name in selection.choose(bags, None, where, notices)]
        self._configs = [_config_of(bag, config, selection) for bag in self._bags]
        self._sweeps: list[_Sweep] = []
        for number, (bag, settings) in enumerate(zip(self._bags, self._configs, strict=True)):
            if taxonomy is not None and settings.ground_truth.topic:
                taxonomy.lookup(settings.ground_truth.mapping)
            with BagReader(bag, settings, taxonomy=taxonomy) as reader:
                times = reader.usable_sweeps()
                self._sweeps += [_Sweep(number, stamp, times[stamp]) for stamp in sorted(times)]
                notices.update(reader.notices)
                if dropped := reader.counts.dropped:
                    text = f"{dropped.total()} of {reader.counts.frames_in} sweeps give no frame"
                    notices.add(f"sweeps:{bag.stem}", f"{bag}: {text} ({describe_counts(dropped)})")
        self._ids = [f"{self._bags[sweep.bag].name}/{sweep.stamp_ns}" for sweep in self._sweeps]

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def frame(self, index: int) -> Frame:
        bag, stamp_ns, log_time_ns = self._sweeps[index]
        with BagReader(self._bags[bag], self._configs[bag], _unsaid, self.taxonomy) as reader:
            return reader.frame(stamp_ns, log_time_ns)


def _unsaid(_: str) -> None:
    """What part of a bag lacks is no condition that lasts."""


def _config_of(bag: Path, config: Config | None, selection: Selection) -> Config:
    """With the chosen cameras, and without a class set of its own."""
    if config is None:
        with MessageReader(bag) as reader:
            topics = set(reader.topics)
        if (preset := find_preset(topics)) is None:
            raise BagError(f"{bag}: no preset fits its topics ({', '.join(sorted(topics))}); give a configuration")
        config = Config.load(preset)
    cameras = {name: config.cameras[name] for name in selection.of_cameras(config.cameras, bag)}
    return config.model_copy(update={"taxonomy": "", "cameras": cameras})
