import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rank_support import Frames, make_config
from small_network import TINY, make_frame

from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import ConfigError, SamAdaptError, WeightsError
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.segmentation import weights as files
from sam_adapt_ros.training.domain import Domain
from sam_adapt_ros.training.frame_samples import FrameSamples, TrainingSet
from sam_adapt_ros.training.ranks import Ranks
from sam_adapt_ros.training.supervised import train_sets
from sam_adapt_ros.training.trainer import Trainer, TrainingResult

FRAMES = [make_frame(seed, points=300) for seed in range(4)]


def train(
    config: Config,
    source: Sequence[Frame] = (),
    target: Sequence[Frame] = (),
    validation: Sequence[Frame] = (),
    labelled: bool = False,
    resume: bool = False,
    progress: Progress = no_progress,
) -> TrainingResult:
    sets = ([TrainingSet(Frames(each))] if each else [] for each in (source, validation))
    learned, held_out = sets
    adapted_to = [TrainingSet(Frames(target), labelled=labelled)] if target else []
    return train_sets(config, learned, adapted_to, held_out, resume=resume, progress=progress, force=True)


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, float]]]:
    """Those of every step."""
    found: list[dict[str, float]] = []
    own_step = Trainer._step

    def step(self: Trainer, batches: Any) -> dict[str, float]:
        found.append(own_step(self, batches))
        return found[-1]

    monkeypatch.setattr(Trainer, "_step", step)
    return found


@pytest.mark.usefixtures("full_gpu")
def test_a_gpu_without_free_memory_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^training\.device: cuda has no free memory"):
        train(make_config(tmp_path), FRAMES)


def test_samples_read_by_processes_give_what_those_in_memory_do_also_resumed(tmp_path: Path) -> None:
    settings = {"iterations": 6, "checkpoint_every": 2, "samples": "memory"}
    whole = train(make_config(tmp_path / "memory", **settings), FRAMES, FRAMES[2:], FRAMES[:1])
    broken = make_config(tmp_path / "disk", **settings | {"samples": "disk", "workers": 2})

    class StoppedError(Exception):
        pass

    def stop(done: int, _: int) -> None:
        if done == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(broken, FRAMES, FRAMES[2:], FRAMES[:1], progress=stop)
    steps: list[int] = []
    result = train(broken, FRAMES, FRAMES[2:], FRAMES[:1], resume=True, progress=lambda done, _: steps.append(done))
    assert steps == [3, 4, 5, 6]
    assert result.version == whole.version and result.validation == whole.validation
    assert [entry["iteration"] for entry in result.validation] == [2, 4, 6]


def test_a_target_without_labels_teaches_the_branches_to_agree(tmp_path: Path, losses: list[dict[str, float]]) -> None:
    for factor in (0.1, 0.2):
        train(make_config(tmp_path / str(factor), iterations=1, lambda_xm_target=factor), FRAMES, FRAMES)
    terms = {"ce_2d", "ce_3d", "xm_2d", "xm_3d"}
    assert all(set(each) == terms | {"target_xm_2d", "target_xm_3d"} for each in losses)
    for name, value in losses[0].items():
        assert losses[1][name] == pytest.approx(value * (2 if name.startswith("target") else 1), rel=1e-5)


def test_pseudo_labels_of_the_target_are_learned_each_branch_its_own(
    tmp_path: Path, losses: list[dict[str, float]]
) -> None:
    own = [replace(frame, image_labels=np.full_like(frame.ground_truth, 1)) for frame in FRAMES]
    for factor, frames in ((1.0, FRAMES), (0.5, FRAMES), (1.0, own)):
        train(make_config(tmp_path, iterations=1, lambda_pl=factor), FRAMES, frames, labelled=True)
    first, half, of_image = losses
    for name in ("target_ce_2d", "target_ce_3d"):
        assert half[name] == pytest.approx(first[name] / 2, rel=1e-5)
    assert of_image["target_ce_3d"] == first["target_ce_3d"] and of_image["target_ce_2d"] != first["target_ce_2d"]


def test_classes_are_weighted_in_the_source_only(tmp_path: Path, losses: list[dict[str, float]]) -> None:
    """The same frames in another order have the same labels: only the weights tell the losses apart."""
    rare = [replace(frame, ground_truth=np.where(frame.ground_truth == 2, 255, frame.ground_truth)) for frame in FRAMES]
    rare[0].ground_truth[:3] = 2
    train(make_config(tmp_path, iterations=1, batch_size=4), rare, labelled=True)
    train(make_config(tmp_path, iterations=1, batch_size=4), (), rare, labelled=True)
    assert losses[0]["ce_3d"] != pytest.approx(losses[1]["target_ce_3d"], rel=1e-3)


def test_a_target_alone_goes_on_from_weights(tmp_path: Path) -> None:
    """As without source data: what the weights are from stays in their history."""
    source = train(make_config(tmp_path / "source", iterations=1), FRAMES)
    config = make_config(tmp_path / "student", iterations=1, learning_rate=1e-9, initial_weights=str(source.weights))
    student = train(config, target=FRAMES, labelled=True)
    before, after = (files.load(each.weights) for each in (source, student))
    assert after.parent == source.version and [entry["step"] for entry in after.history] == ["train", "train"]
    for name, tensor in before.state.items():
        if "running" not in name and "num_batches" not in name:
            np.testing.assert_allclose(after.state[name], tensor, atol=2e-3)
    other = make_config(tmp_path / "other", initial_weights=str(source.weights))
    Path(other.training.architecture).write_text(json.dumps(TINY.model_dump() | {"point_width": 5}))
    with pytest.raises(WeightsError, match=r"architecture\.point_width"):
        train(other, FRAMES)


def test_nothing_to_learn_from_is_an_error(tmp_path: Path) -> None:
    for frames in ((), FRAMES):
        with pytest.raises(ConfigError, match=r"^training\.bags, training\.data: labelled points expected"):
            train(make_config(tmp_path), target=frames)


def test_classifiers_stay_as_trained_where_that_is_asked_for(tmp_path: Path) -> None:
    results = [
        train(make_config(tmp_path / str(scaled), iterations=2, temperature_scaling=scaled), FRAMES, (), FRAMES)
        for scaled in (True, False)
    ]
    scaled, plain = (files.load(result.weights) for result in results)
    assert plain.history[0]["scales"] == {"image": 1.0, "points": 1.0} != scaled.history[0]["scales"]
    factor = scaled.history[0]["scales"]["points"]
    name = "points.heads.classify.weight"
    np.testing.assert_allclose(scaled.state[name], plain.state[name] * factor, rtol=2e-3)


def test_a_loss_that_is_not_finite_names_the_frames_and_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"iterations": 3, "checkpoint_every": 1, "batch_size": 2}
    whole, config = (make_config(tmp_path / name, **settings) for name in ("whole", "broken"))
    own_losses, steps = Domain.losses, []

    def losses(self: Domain, output: Any, batch: Any) -> Any:
        terms = own_losses(self, output, batch)
        return {name: term * np.nan for name, term in terms.items()} if self.name and len(steps) == 1 else terms

    with monkeypatch.context() as patched:
        patched.setattr(Domain, "losses", losses)
        with pytest.raises(
            SamAdaptError, match=r"^training: step 1: .*(drive/\d, ){3}drive/\d; --resume, or the same bench"
        ):
            train(config, FRAMES, FRAMES, progress=lambda done, _: steps.append(done))
    result = train(config, FRAMES, FRAMES, resume=True, progress=lambda done, _: steps.append(done))
    assert steps == [1, 2, 3]
    assert result.version == train(whole, FRAMES, FRAMES).version


def test_the_course_of_a_run_is_in_event_files(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = make_config(tmp_path, iterations=4, checkpoint_every=2)
    for _ in range(2):  # the second run replaces the first one's
        train(config, FRAMES, FRAMES, FRAMES[:1])
    events = EventAccumulator(config.training.output)
    events.Reload()
    assert {"loss/ce_2d", "loss/target_xm_3d", "mean_iou/fused", "training/learning_rate"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.step for event in events.Scalars("loss/ce_2d")] == [2, 4]
    written = json.loads((Path(config.training.output) / "validation.json").read_text())
    assert events.Scalars("mean_iou/fused")[-1].value == pytest.approx(written[-1]["fused"])


def test_without_tensorboard_there_are_no_event_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    caplog.set_level(logging.INFO)
    result = train(make_config(tmp_path, iterations=1), FRAMES)
    assert "no event files for TensorBoard: pip install 'sam_adapt_ros[train]'" in caplog.text
    assert not list(result.weights.parent.glob("events*"))


class _TwoRanks(Ranks):
    """One of two processes, of which the other has a camera in its part of the batch."""

    size = 2

    def gather(self, value: Any) -> list[Any]:
        return [value, (True, True)] if isinstance(value, tuple) else [value]

    def shares(self, masses: Any) -> Any:
        return masses * 0 + 1


def test_a_batch_that_is_no_batch_for_one_of_the_processes_is_left_out_by_all(
    tmp_path: Path, losses: list[dict[str, float]], caplog: pytest.LogCaptureFixture
) -> None:
    """Else the others would wait for its statistics for ever."""
    blind = [replace(frame, views=()) for frame in FRAMES]
    sets = [TrainingSet(Frames(each)) for each in (FRAMES, blind)]
    source, target = (FrameSamples([each], TINY) for each in sets)
    (tmp_path / "run").mkdir()
    trainer = Trainer(make_config(tmp_path, iterations=1), source, (), target, _TwoRanks())
    trainer.run(no_progress)
    assert set(losses[0]) == {"ce_2d", "ce_3d", "xm_2d", "xm_3d"}
    assert "iteration 0 leaves a batch out: no camera sees a point of ('drive/" in caplog.text


def test_where_that_leaves_nothing_training_goes_on_with_the_next_batch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blind = FrameSamples([TrainingSet(Frames([replace(frame, views=()) for frame in FRAMES]))], TINY)
    (tmp_path / "run").mkdir()
    trainer = Trainer(make_config(tmp_path, iterations=2), blind, (), (), _TwoRanks())
    trainer.run(no_progress)
    assert trainer.iteration == 2
    assert "iteration 1 leaves a batch out" in caplog.text


def test_a_batch_is_divided_evenly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^training\.batch_size: a multiple of the 2 processes expected, got 3"):
        Trainer(make_config(tmp_path, batch_size=3), (), (), (), _TwoRanks())
