import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from rank_support import Frames

from sam_adapt_ros.config import ArchitectureConfig, RecipeConfig
from sam_adapt_ros.errors import SamAdaptError
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation.batch import Sample, collate
from sam_adapt_ros.training.frame_samples import FrameSamples, TrainingSet, crop_bottom

MakeFrame = Callable[..., Frame]


def samples(frames: list[Frame], tiny: ArchitectureConfig, labelled: bool = True, **recipe: object) -> FrameSamples:
    return FrameSamples([TrainingSet(Frames(frames), RecipeConfig(**recipe), labelled)], tiny)


@pytest.fixture(scope="module")
def wide(make_frame: MakeFrame) -> Frame:
    return make_frame(3, points=400, width=192, height=80)


def test_frames_of_several_sets_as_often_as_their_recipes_say(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    first, second = (Frames(make_frame(seed, points=50) for seed in seeds) for seeds in (range(2), range(5, 8)))
    joined = FrameSamples([TrainingSet(first, RecipeConfig(repeat=2)), TrainingSet(second)], tiny)
    names = ["drive/0", "drive/1", "drive/0", "drive/1", "drive/5", "drive/6", "drive/7"]
    assert len(joined) == 7 and [sample.name for sample in joined] == names
    with pytest.raises(IndexError):
        joined[7]
    assert [sample.name for sample in pickle.loads(pickle.dumps(joined))] == names
    joined.load()
    assert joined.in_memory and [sample.name for sample in joined] == names and joined[0] is joined[2]


def test_labels_of_a_target_are_never_looked_at(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    frame = make_frame(0, points=50)
    own = replace(frame, image_labels=np.full(50, 2, np.uint8))
    assert samples([own], tiny, labelled=False)[0].labels is None
    assert samples([own], tiny, labelled=False)[0].image_labels is None
    np.testing.assert_array_equal(samples([own], tiny)[0].image_labels, 2)
    assert (samples([replace(frame, ground_truth=None)], tiny)[0].labels == 255).all()


@pytest.mark.parametrize(("image", "size"), [("", (48, 96)), ("60x40", (40, 60)), ("whole", (80, 192))])
def test_the_image_size_is_the_recipe_s(
    tiny: ArchitectureConfig, wide: Frame, image: str, size: tuple[int, int]
) -> None:
    sample = samples([wide], tiny, image=image)[0]
    assert sample.images.shape == (1, *size, 3)
    seen = sample.camera == 0
    at_full_size = samples([wide], tiny, image="whole")[0].uv[seen]
    scale = np.array(size[::-1]) / (192, 80)
    np.testing.assert_allclose(sample.uv[seen], (at_full_size + 0.5) * scale - 0.5, atol=1e-4)


def test_a_crop_is_of_the_lowest_rows_and_keeps_each_point_s_pixel(tiny: ArchitectureConfig, wide: Frame) -> None:
    image = np.zeros((80, 192, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(192), np.arange(80)[:, None]
    whole = Sample.from_frame(replace(wide, views=(replace(wide.views[0], image=image),)), tiny, size=(192, 80))
    lefts = set()
    for seed in range(8):
        cropped = crop_bottom(whole, (96, 48), np.random.default_rng(seed))
        (pixels,) = cropped.images
        assert pixels.shape == (48, 96, 3) and pixels[0, 0, 1] == 32
        left = int(pixels[0, 0, 0])
        lefts.add(left)
        inside = (whole.camera == 0) & (whole.uv >= (left - 0.5, 31.5)).all(1) & (whole.uv < (left + 95.5, 80)).all(1)
        np.testing.assert_array_equal(cropped.camera == 0, inside)
        np.testing.assert_allclose(cropped.uv[inside] + (left, 32), whole.uv[inside], atol=1e-4)
        assert len(cropped.points) == len(whole.points)
    assert len(lefts) > 4 and max(lefts) <= 96
    assert crop_bottom(whole, (500, 20), np.random.default_rng(0)).images.shape == (1, 20, 192, 3)


def test_points_are_drawn_anew_each_time(tiny: ArchitectureConfig, make_frame: MakeFrame) -> None:
    few = samples([make_frame(0, points=200)], tiny, max_points=30)
    first, again, other = (few.vary(0, few[0], np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert len(few[0].points) == 200 and len(first.points) == len(first.labels) == 30
    np.testing.assert_array_equal(first.rows, again.rows)
    assert not np.array_equal(first.rows, other.rows)


def test_points_are_drawn_of_the_whole_cloud_and_then_cropped(tiny: ArchitectureConfig, wide: Frame) -> None:
    """As published: a crop of half the image has about half of the points drawn."""
    recipe = RecipeConfig(image="whole", crop="96x80", max_points=60)
    few = FrameSamples([TrainingSet(Frames([wide]), recipe)], tiny, seen_only=True)
    assert len(few[0].points) > 3 * recipe.max_points
    counts = [len(few.vary(0, few[0], np.random.default_rng(seed)).points) for seed in range(8)]
    assert min(counts) > 0 and max(counts) < recipe.max_points


def test_only_seen_points_of_a_crop(tiny: ArchitectureConfig, wide: Frame) -> None:
    seen = FrameSamples([TrainingSet(Frames([wide]), RecipeConfig(image="whole", crop="96x48"))], tiny, seen_only=True)
    varied = seen.vary(0, seen[0], np.random.default_rng(0))
    assert 0 < len(varied.points) < len(seen[0].points) < len(wide.points)
    assert (varied.camera >= 0).all()


def test_images_of_two_sizes_in_a_batch_are_named(tiny: ArchitectureConfig, wide: Frame) -> None:
    one, other = (samples([wide], tiny, image=image)[0] for image in ("whole", "60x40"))
    with pytest.raises(SamAdaptError, match=r"^images of one size .* drive/3 has 192 x 80, drive/3 60 x 40: give"):
        collate([one, other], tiny)
    blind = samples([replace(wide, views=())], tiny)[0]
    assert collate([blind, one, one], tiny).images.shape == (2, 3, 80, 192)
