from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from bag_factory import Drive
from example_network_support import architecture as example_architecture
from example_network_support import example_network  # noqa: F401

from sam_adapt_ros.bags import BagWriter
from sam_adapt_ros.config import ArchitectureConfig, AugmentationConfig, Config, FabricConfig, TrainingConfig
from sam_adapt_ros.errors import ConfigError, OutputError, SamAdaptError, WeightsError
from sam_adapt_ros.evaluation.segmentation_metrics import evaluate
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.segmentation import weights as files
from sam_adapt_ros.segmentation.segmenter import Segmenter
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.training import supervised as training
from sam_adapt_ros.training.ranks import start_ranks

MakeFrame = Callable[..., Frame]
TAXONOMY = {"name": "shapes", "classes": [{"name": n, "color": [0, 0, 0]} for n in ("ground", "wall", "box")]}


@pytest.fixture
def config(tmp_path: Path, tiny: ArchitectureConfig) -> Config:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny.model_dump() | {"point_features": "offset"}))
    (tmp_path / "shapes.yaml").write_text(yaml.safe_dump(TAXONOMY))
    return Config(
        taxonomy=str(tmp_path / "shapes.yaml"),
        training=TrainingConfig(
            architecture=str(tmp_path / "tiny.yaml"),
            output=str(tmp_path / "run"),
            iterations=200,
            batch_size=4,
            learning_rate=1e-2,
            schedule="one_cycle",
            checkpoint_every=100,
            lambda_xm=0.5,
            augmentation=AugmentationConfig(rotation_noise=0.02, color_jitter=0.2),
        ),
    )


def train(
    config: Config,
    frames: Sequence[Frame],
    validation: Sequence[Frame] = (),
    resume: bool = False,
    progress: Progress = no_progress,
) -> training.TrainingResult:
    """As ``training.train``, of frames instead of bags."""
    samples, held_out = (training.prepare_samples(each, config) for each in (frames, validation))
    trainer = training.Trainer(config, samples, held_out)
    if resume:
        trainer.restore()
    return trainer.run(progress)


def changed(config: Config, **values: object) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update=values)})


@pytest.fixture(scope="module")
def frames(make_frame: MakeFrame) -> list[Frame]:
    return [make_frame(seed, points=600) for seed in range(6)]


def test_training_learns_and_its_weights_segment(config: Config, frames: list[Frame], make_frame: MakeFrame) -> None:
    steps: list[tuple[int, int]] = []
    held_out = [make_frame(seed, points=600) for seed in (20, 21)]
    result = train(config, frames, held_out, progress=lambda *step: steps.append(step))
    assert steps == [(i, 200) for i in range(1, 201)]
    assert [entry["iteration"] for entry in result.validation] == [100, 200]
    weights = files.load(result.weights)
    assert weights.version == result.version
    assert weights.history[0]["frames"] == 6 and weights.history[0]["training"]["seed"] == 0
    segmenter = Segmenter.load(result.weights, taxonomy=Taxonomy.load(config.taxonomy))
    evaluation = evaluate(held_out, segmenter)
    assert evaluation.frames == 2
    best = max(entry["fused"] for entry in result.validation)
    assert evaluation.miou("fused") == pytest.approx(best, abs=0.02)  # what training measured, but for float16
    assert evaluation.miou("fused") > 0.7 and evaluation.miou("3d") > 0.7
    summary = evaluation.summary()
    assert set(summary["iou"]["fused"]) == {"ground", "wall", "box"} and summary["miou"]["2d"] > 0.4


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_gpu_learns_as_much(config: Config, frames: list[Frame], make_frame: MakeFrame, precision: str) -> None:
    samples = training.prepare_samples(frames, config)
    held_out = training.prepare_samples([make_frame(seed, points=600) for seed in (20, 21)], config)
    ranks = start_ranks(FabricConfig(devices=1, precision=precision), torch.device("cuda"))
    result = training.Trainer(config, samples, held_out, ranks=ranks).run(no_progress)
    assert max(entry["fused"] for entry in result.validation) > 0.7


def test_a_resumed_run_ends_where_an_unbroken_one_does(config: Config, frames: list[Frame], tmp_path: Path) -> None:
    short = changed(config, iterations=12, checkpoint_every=6)
    whole = train(changed(short, output=str(tmp_path / "whole"), workers=0), frames)
    again = train(changed(short, output=str(tmp_path / "again")), frames)
    assert again.version == whole.version

    class StoppedError(Exception):
        pass

    def stop(done: int, _: int) -> None:
        if done == 9:
            raise StoppedError

    broken = changed(short, output=str(tmp_path / "broken"))
    with pytest.raises(StoppedError):
        train(broken, frames, progress=stop)
    resumed: list[int] = []
    result = train(broken, frames, resume=True, progress=lambda done, _: resumed.append(done))
    assert resumed == list(range(7, 13))
    assert result.version == whole.version
    first, second = (files.load(path.weights) for path in (whole, result))
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)
    with pytest.raises(ConfigError, match=r"learning_rate: 0\.01 then, 0\.5 now"):
        train(changed(broken, learning_rate=0.5), frames, resume=True)
    checkpoint = tmp_path / "broken" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-50])
    with pytest.raises(WeightsError, match=r"checkpoint\.safetensors"):
        train(broken, frames, resume=True)


def test_a_frame_in_one_voxel_does_not_end_the_training(config: Config, frames: list[Frame]) -> None:
    heap = replace(frames[0], points=frames[0].points * np.float32(1e-3) + np.float32(0.1))
    result = train(
        changed(config, iterations=4, batch_size=1, checkpoint_every=2), [heap, frames[1]], [heap, frames[2]]
    )
    assert all(np.isfinite(list(entry.values())).all() for entry in result.validation)


def test_nothing_to_learn_from_is_an_error(config: Config) -> None:
    with pytest.raises(ConfigError, match=r"training\.bags"):
        train(config, ())


@pytest.mark.parametrize("lack", ["labels", "ground truth", "frames"])
def test_nothing_to_validate_by_is_an_error_before_the_first_step(
    config: Config, frames: list[Frame], lack: str
) -> None:
    held_out = [replace(frames[0], ground_truth=np.full_like(frames[0].ground_truth, 255))]
    if lack == "ground truth":
        held_out = [replace(frames[0], ground_truth=None)]
    named = changed(config, validation_bags=["/data/evening"])
    with pytest.raises(ConfigError, match=r"training\.validation_bags: labelled points expected, \['/data/evening'\]"):
        train(named, frames, [] if lack == "frames" else held_out, progress=lambda *_: pytest.fail("a step was made"))


def test_validation_without_a_camera_has_no_score_of_the_image_branch(config: Config, frames: list[Frame]) -> None:
    short = changed(config, iterations=2, batch_size=1, checkpoint_every=1)
    result = train(short, frames[:2], [replace(frames[2], views=())])
    assert [set(entry) for entry in result.validation] == [{"iteration", "3d", "fused"}] * 2
    text = (Path(short.training.output) / "validation.json").read_text()
    assert "NaN" not in text


def test_only_seen_points_as_published(config: Config, frames: list[Frame]) -> None:
    samples = training.prepare_samples(frames, changed(config, points="seen"))
    assert all((sample.camera >= 0).all() and len(sample.points) == len(sample.labels) for sample in samples)


def test_losses_are_logged_between_checkpoints(
    config: Config, frames: list[Frame], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    train(changed(config, iterations=45, checkpoint_every=45), frames)
    lines = [message for message in caplog.messages if message.startswith("iteration")]
    assert [line.split(":")[0] for line in lines] == [f"iteration {done} of 45" for done in (20, 40, 45)]
    assert "ce_2d" in lines[0]


def test_a_loss_that_is_not_finite_names_the_setting_to_change(config: Config, frames: list[Frame]) -> None:
    with pytest.raises(SamAdaptError, match=r"not finite; lower training\.learning_rate"):
        train(changed(config, learning_rate=1e30), frames)


def test_training_reads_bags_and_says_so(
    config: Config, night_bag: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    settings = {"bags": [str(night_bag)], "validation_bags": [str(night_bag.parent)], "iterations": 2, "batch_size": 1}
    town = Config.load("town").model_copy(update={"training": changed(config, **settings).training})
    result = training.train(town)
    assert files.load(result.weights).history[0]["frames"] == 3
    assert [entry["iteration"] for entry in result.validation] == [2]
    assert caplog.messages.count(f"reading {night_bag}") == 2


@pytest.fixture
def unlabelled_bag(tmp_path: Path) -> Path:
    with BagWriter(tmp_path / "unlabelled") as writer:
        Drive(sweeps=2).write(writer, labels=False)
    return tmp_path / "unlabelled"


def test_bags_without_labels_are_not_passed_over_in_silence(
    config: Config, night_bag: Path, unlabelled_bag: Path, caplog: pytest.LogCaptureFixture
) -> None:
    both = {"bags": [str(night_bag)], "validation_bags": [str(unlabelled_bag)]}
    town = Config.load("town").model_copy(update={"training": changed(config, **both).training})
    with pytest.raises(ConfigError, match=r"^training\.validation_bags: labelled points expected, .*unlabelled"):
        training.train(town)
    assert f"{unlabelled_bag} is passed over: no frame has labelled points on /ground_truth/labels" in caplog.text
    assert f"{night_bag} is passed over" not in caplog.text


def test_an_earlier_run_is_not_replaced_unless_forced(
    config: Config, night_bag: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"bags": [str(night_bag)], "iterations": 1, "batch_size": 1}
    town = Config.load("town").model_copy(update={"training": changed(config, **settings).training})
    first = training.train(town)
    before = first.weights.read_bytes()

    def refuse(*_: object) -> None:
        pytest.fail("the work began")

    with monkeypatch.context() as patched:
        patched.setattr(training, "read_frames", refuse)
        with pytest.raises(OutputError, match=r"safetensors exists; choose another output or give --force"):
            training.train(town)
        (first.weights.parent / "validation.json").unlink()
        (first.weights.parent / "validation.json").mkdir()
        with pytest.raises(OutputError, match=r"validation\.json: a file expected, a folder is there"):
            training.train(town, force=True)
    (first.weights.parent / "validation.json").rmdir()
    assert first.weights.read_bytes() == before
    training.train(town, resume=True)
    training.train(town, force=True)


@pytest.mark.parametrize("branches", [("image", "points"), ("points",), ("image",)], ids="+".join)
def test_a_registered_network_is_trained_like_the_own_one(
    config: Config,
    frames: list[Frame],
    make_frame: MakeFrame,
    example_network: Path,  # noqa: F811
    branches: Sequence[str],
) -> None:
    path = Path(config.training.architecture)
    path.write_text(yaml.safe_dump(example_architecture(branches=branches).model_dump()))
    result = train(changed(config, iterations=60, checkpoint_every=60), frames, [make_frame(20, points=600)])
    loaded = files.load(result.weights)
    assert loaded.architecture.network == "example"
    assert {name.partition(".")[0] for name in loaded.state} == set(branches)
    (validation,) = result.validation
    assert ("2d" in validation) == ("image" in branches)
    assert ("3d" in validation) == ("points" in branches)
    assert validation[f"{'3d' if 'points' in branches else '2d'}"] > 0.3
