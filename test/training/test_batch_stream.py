from collections.abc import Callable

import numpy as np
import torch

from sam_adapt_ros.config import ArchitectureConfig, AugmentationConfig
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.training.batch_stream import BatchStream, DividedBatchStream, count_classes
from sam_adapt_ros.training.loader import map_ahead

MakeFrame = Callable[..., Frame]


def test_a_batch_depends_on_its_number_alone(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    samples = [Sample.from_frame(make_frame(seed, points=200), tiny) for seed in range(5)]
    stream = BatchStream(samples, tiny, AugmentationConfig(), 2, seed=4)
    ahead = list(map_ahead(stream.batch, range(6), 2, processes=False))
    for number in (5, 0, 3):
        again = stream.batch(number)
        for name in ("images", "voxels", "voxel_of_point", "uv", "labels"):
            assert torch.equal(getattr(again, name), getattr(ahead[number], name))
    picked = [stream._at(place) for place in range(10)]
    assert sorted(picked[:5]) == sorted(picked[5:]) == [0, 1, 2, 3, 4]


def test_counts_are_of_labelled_points(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    frames = [make_frame(seed, points=100) for seed in range(2)]
    frames[0].ground_truth[:10] = 255
    samples = [Sample.from_frame(frame, tiny) for frame in frames]
    labels = np.concatenate([frame.ground_truth for frame in frames])
    np.testing.assert_array_equal(count_classes(samples, 3), np.bincount(labels[labels < 255], minlength=3))


def test_parts_of_a_batch_are_the_batch(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    samples = [Sample.from_frame(make_frame(seed, points=100), tiny) for seed in range(3)]
    whole, *parts = (
        DividedBatchStream(samples, tiny, AugmentationConfig(), 4, seed=4, part=part).batch(3)
        for part in ((0, 1), (0, 2), (1, 2))
    )
    for name in ("images", "points", "uv", "labels", "features"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))
    assert whole.names == parts[0].names + parts[1].names and len(whole.names) == 4


def test_samples_are_varied_before_they_are_augmented(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    samples = [Sample.from_frame(make_frame(seed, points=100), tiny) for seed in range(2)]

    def first_points(index: int, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample.only(np.arange(100) < 10 * (index + 1))

    stream = DividedBatchStream(samples, tiny, AugmentationConfig(), 2, seed=0, vary=first_points)
    assert len(stream.batch(0).points) == 10 + 20
