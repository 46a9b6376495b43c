"""Parts of data sets, and data sets with other labels."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest

from sam_adapt_ros.datasets import Dataset
from sam_adapt_ros.datasets.relabelled import Relabelled
from sam_adapt_ros.datasets.subset import Subset, parse_split
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.frame import Frame


class Ten(Dataset):
    name = "ten"
    ids = tuple(f"a/{place:06d}" for place in range(10))

    def frame(self, index):
        return Frame(
            index, "lidar", np.full((index + 1, 3), index, np.float32), ground_truth=np.zeros(index + 1, np.uint8)
        )


@dataclass(frozen=True)
class Parity:
    own: bool

    def __call__(self, frame_id, points):
        labels = np.full(points, int(frame_id[-1]) % 2, np.uint8)
        return labels, labels + np.uint8(2) if self.own else None


@pytest.mark.parametrize(
    ("text", "split", "places"),
    [
        ("train", "train", range(10)),
        ("all[:4]", "all", range(4)),
        ("all[4:]", "all", range(4, 10)),
        ("[-3:]", "", range(7, 10)),
        ("val[1:9:3]", "val", range(1, 9, 3)),
        ("val[::5]", "val", range(0, 10, 5)),
    ],
)
def test_splits_with_frames(text, split, places):
    name, frames = parse_split(text)
    assert name == split
    assert list(range(10)[frames]) == list(places)


@pytest.mark.parametrize("text", ["all[", "all[3]", "all[1:2:0]", "all[1:2:-1]", "all[a:b]", "all]1:2[", "all[1:2]x"])
def test_what_is_no_split_is_refused(text):
    with pytest.raises(ConfigError, match="split: a name such as train"):
        parse_split(text)


def test_a_part_has_the_frames_of_the_whole_by_their_ids():
    part = pickle.loads(pickle.dumps(Subset(Ten(), range(1, 9, 3))))
    assert len(part) == 3
    assert list(part.ids) == ["a/000001", "a/000004", "a/000007"]
    assert [frame.stamp_ns for frame in part] == [1, 4, 7]
    assert part[-1].stamp_ns == 7
    with pytest.raises(IndexError):
        part[3]


@pytest.mark.parametrize("own", [False, True])
def test_other_labels_than_the_true_ones(own):
    found = pickle.loads(pickle.dumps(Relabelled(Subset(Ten(), [3, 4]), Parity(own))))
    assert list(found.ids) == ["a/000003", "a/000004"]
    for frame, parity in zip(found, (1, 0), strict=True):
        assert len(frame.points) == len(frame.ground_truth)
        assert (frame.ground_truth == parity).all()
        assert (frame.image_labels == parity + 2).all() if own else frame.image_labels is None
