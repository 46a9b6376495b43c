"""Which recordings of a data set are opened: by split, by name, and what happens when some are not on disk."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sam_adapt_ros.errors import BagError
from sam_adapt_ros.notices import Notices

_NAMED = 50


@dataclass(frozen=True)
class Selection:
    """What of a data set is opened.

    split: one of the data set's splits; "": all recordings. names: of recordings, or patterns (``scene-0061``,
    ``0*``); none: all of the split. cameras: whose images are read, in this order; none: all. allow_missing: recordings
    and frames that the data set has, but the disk does not, are left out and said; otherwise they are refused.
    """

    split: str = ""
    names: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    allow_missing: bool = False

    def choose(
        self, there: Iterable[str], members: Collection[str] | None, where: object, notices: Notices
    ) -> list[str]:
        """The recordings to open, in the order in which they are there.

        there: names of the recordings on disk. members: of the split; None: it has whatever is there. where: the file
        or folder that was looked at, for errors. notices: is told of recordings that are left out.

        Raises BagError that names what is missing.
        """
        on_disk = list(there)
        wanted = set(on_disk if members is None else members)
        if self.names:
            if unmatched := [name for name in self.names if not fnmatch.filter(wanted | set(on_disk), name)]:
                raise BagError(f"{where}: no {unmatched[0]!r} (has {len(on_disk)}: {listed(sorted(on_disk), 5)})")
            if outside := [name for name in self.names if not fnmatch.filter(wanted, name)]:
                raise BagError(f"{where}: {outside[0]!r} is not in split {self.split}")
            wanted = {each for name in self.names for each in fnmatch.filter(wanted, name)}
        if missing := sorted(wanted - set(on_disk)):
            text = f"{where}: {len(missing)} of {len(wanted)} recordings of split {self.split} are not there"
            self.leave_out("split", f"{text}: {listed(missing)}", notices)
        chosen = [name for name in on_disk if name in wanted]
        if not chosen:
            raise BagError(f"{where}: no recording of split {self.split}" if self.split else f"{where}: no recordings")
        return chosen

    def of_cameras(self, known: Iterable[str], where: object) -> list[str]:
        """The cameras to open of those that there are, in the chosen order. Raises BagError at one that is not."""
        there = list(known)
        for name in self.cameras:
            if name not in there:
                raise BagError(f"{where}: no camera {name} (has {', '.join(there) or 'none'})")
        return list(self.cameras) or there

    def leave_out(self, key: str, text: str, notices: Notices) -> None:
        """Something is not on disk. Raises BagError, or tells ``notices`` where that is allowed."""
        if not self.allow_missing:
            raise BagError(f"{text}; --allow-missing goes on without them")
        notices.add(key, f"{text}; left out")


def split_members(splits: dict[str, tuple[str, ...]], split: str, dataset: str) -> tuple[str, ...] | None:
    """The recordings of a split; None for "", which is all of them. Raises BagError that lists the splits."""
    if not split:
        return None
    if split not in splits:
        expected = f"one of {', '.join(splits)}" if splits else "none"
        raise BagError(f"{dataset}: split: {expected} expected, got {split!r}")
    return splits[split]


def listed(names: Collection[str], most: int = _NAMED) -> str:
    """The first names, and whether there are more."""
    return ", ".join(list(names)[:most]) + (", ..." if len(names) > most else "")
