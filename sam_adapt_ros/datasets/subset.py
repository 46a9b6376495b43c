"""Some frames of a data set, as a data set: ``all[:26]`` of a split, every tenth frame of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sam_adapt_ros.datasets.dataset import Dataset
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.frame import Frame

_SLICE = re.compile(r"([^\[\]]*)\[(-?\d+)?:(-?\d+)?(?::([1-9]\d*))?\]")


def parse_split(text: str) -> tuple[str, slice]:
    """``all[10:26:2]`` -> ``all`` and the slice, by Python's rules; without brackets, all frames.

    Raises ConfigError when it is neither a name nor a name with a slice.
    """
    if found := _SLICE.fullmatch(text):
        return found[1], slice(*(None if each is None else int(each) for each in found.groups()[1:]))
    if "[" in text or "]" in text:
        raise ConfigError(f"split: a name such as train, or with frames such as all[:26] or all[10::2], got {text!r}")
    return text, slice(None)


class Subset(Dataset):
    """The frames of a data set at some places, in this order; each is read when asked for."""

    name = "subset"

    def __init__(self, dataset: Dataset, places: Sequence[int]) -> None:
        self._dataset, self._places = dataset, places
        self._ids = [dataset.ids[place] for place in places]

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def frame(self, index: int) -> Frame:
        return self._dataset[self._places[index]]
