"""Streams that teach nothing true: what is learned from them must do no harm."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from learning_support import drive, learning_config, make_adapter, miou, online_run, watch

from sam_adapt_ros.evaluation.segmentation_metrics import evaluate
from sam_adapt_ros.frame import Frame

FRAMES = 14
Poison = Callable[[list[Frame]], list[Frame]]


def with_images(frames: list[Frame], change: Callable[[np.ndarray], np.ndarray]) -> list[Frame]:
    return [replace(f, views=tuple(replace(view, image=change(view.image)) for view in f.views)) for f in frames]


def blackened(frames: list[Frame]) -> list[Frame]:
    return with_images(frames, np.zeros_like)


def noise(frames: list[Frame]) -> list[Frame]:
    rng = np.random.default_rng(0)
    return with_images(frames, lambda image: rng.integers(0, 256, image.shape, dtype=np.uint8))


def shuffled(frames: list[Frame]) -> list[Frame]:
    rng = np.random.default_rng(0)
    return with_images(frames, lambda image: rng.permutation(image.reshape(-1, 3)).reshape(image.shape))


def frozen(frames: list[Frame]) -> list[Frame]:
    """The same sweep over and over, while the vehicle drives on and its camera sees."""
    first = frames[0]
    return [replace(f, points=first.points, ground_truth=first.ground_truth) for f in frames]


POISONS = (blackened, noise, shuffled, frozen)


@pytest.mark.parametrize("poison", POISONS)
def test_poison_is_not_even_buffered(poison: Poison, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path)
    outcomes = watch(adapter, poison(drive(FRAMES)))
    assert set(outcomes[1:]) <= {"dark_image", "noisy_image", "frozen_lidar"}
    assert not adapter.ready


@pytest.mark.parametrize("poison", POISONS)
def test_a_poisoned_buffer_does_no_harm(poison: Poison, tmp_path: Path) -> None:
    """With the guard at the buffer's door out of the way, the gate still holds."""
    adapter = make_adapter(tmp_path, learning_config(**{"self_training.steps": 8}))
    adapter.frame_checks.fault = lambda frame, labels: None  # type: ignore[method-assign]
    watch(adapter, poison(drive(FRAMES)))
    assert adapter.ready
    clean = drive(6, seed=900)
    before = miou(adapter, clean)
    adapter.run_round()
    assert miou(adapter, clean) >= before - 0.005


def test_a_poisoned_stream_takes_nothing_from_what_was_learned(tmp_path: Path) -> None:
    """Good frames, of which something is learned, then one poison after the other, with rounds in between."""
    run = online_run(tmp_path, **{"self_training.steps": 8, "drift.window": 6})
    clean = drive(6, seed=900, dusk=True)
    shipped = evaluate(clean, run.source).miou("fused_seen")
    for frame in drive(FRAMES, dusk=True):
        run.label(frame)
        run.learn()
    learned = evaluate(clean, run.segmenter).miou("fused_seen")
    assert learned > shipped + 0.05
    for place, poison in enumerate(POISONS, 1):
        buffered = len(run.adapter.buffer)
        for frame in poison(drive(8, seed=200 * place, start=FRAMES + 8 * place, dusk=True)):
            run.label(frame)
            run.learn()
        assert len(run.adapter.buffer) <= buffered + 1  # the first sweep of a LiDAR that freezes is a good one
        run.adapter.request_round()
        run.learn()
        assert evaluate(clean, run.segmenter).miou("fused_seen") >= learned - 0.005, poison.__name__
    assert len(run.decisions) == 1 + len(POISONS)
