from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learning_support import drive, learning_config, source_network, to_samples

from sam_adapt_ros.adaptation.labelled_source import LabelledSource, labelled_miou
from sam_adapt_ros.adaptation.self_training import SelfTraining
from sam_adapt_ros.bags import BagReader, BagWriter
from sam_adapt_ros.cancellation import CancellationToken, Cancelled
from sam_adapt_ros.config import ArchitectureConfig, Config, SelfTrainingConfig
from sam_adapt_ros.errors import BagError, ConfigError
from sam_adapt_ros.segmentation.fusion import FUSIONS
from sam_adapt_ros.simulation import render_drive
from sam_adapt_ros.taxonomy import Taxonomy

TOWN = Taxonomy.load("town")
SMALL = ArchitectureConfig(image_height=48, image_width=96)
CONFIG = SelfTrainingConfig(steps=6, batch_size=2, learning_rate=2e-3, class_weight_exponent=0.25)


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("source")
    for seed, frames in ((1, 6), (2, 4)):
        render_drive("day", seed, frames, folder / f"day-{seed}")
    return [str(folder / "day-1"), str(folder / "day-2")]


class CountingToken(CancellationToken):
    def __init__(self) -> None:
        super().__init__()
        self.checks = 0

    def check(self) -> None:
        super().check()
        self.checks += 1


def source_config(bags: list[str], mode: str = "with_source", **changes: object) -> Config:
    values = {"adaptation.mode": mode, "adaptation.source.bags": bags}
    return Config.load("town", values | {f"adaptation.source.{name}": value for name, value in changes.items()})


def stamps(bag: str) -> list[np.ndarray]:
    with BagReader(bag, Config.load("town")) as reader:
        return [frame.points for frame in reader.frames()]


def test_frames_are_evenly_spaced_bounded_and_the_ends_held_out(bags: list[str]) -> None:
    samples = LabelledSource(source_config(bags, max_frames=6, held_out=0.34), TOWN, SMALL).load()
    assert (len(samples.training), len(samples.held_out)) == (4, 2)
    first, second = (stamps(bag) for bag in bags)
    # 0, 2, 4 of the first bag's six and 0 (or 1), 1 (or 2), 3 of the second's four: rounded places of 0 to 9.
    chosen = np.linspace(0, 9, 6).round().astype(int)
    frames = [*first, *second]
    expected = [frames[place] for place in chosen]
    of_first = int((chosen < 6).sum())
    kept = [of_first - round(0.34 * of_first), 6 - of_first - round(0.34 * (6 - of_first))]
    training = [*expected[: kept[0]], *expected[of_first : of_first + kept[1]]]
    for sample, points in zip(samples.training, training, strict=True):
        np.testing.assert_array_equal(sample.points, points[np.isfinite(points).all(1)])


def test_frames_are_read_once_and_not_before_they_are_asked_for(bags: list[str], tmp_path: Path) -> None:
    frames = LabelledSource(source_config(bags), TOWN, SMALL)
    token = CountingToken()
    samples = frames.load(token)
    assert token.checks == 10 == len(samples.training) + len(samples.held_out)
    assert frames.load(token) is samples
    assert token.checks == 10


def test_what_is_cancelled_while_reading_can_be_read_again(bags: list[str]) -> None:
    frames = LabelledSource(source_config(bags), TOWN, SMALL)
    token = CountingToken()
    token.cancel()
    with pytest.raises(Cancelled):
        frames.load(token)
    assert frames.load().training


def test_without_bags_there_is_nothing_unless_the_mode_needs_them() -> None:
    frames = LabelledSource(source_config([], mode="source_free"), TOWN, SMALL)
    assert frames.load().training == frames.load().held_out == ()
    with pytest.raises(ConfigError, match=r"adaptation\.source\.bags: mode with_source needs"):
        LabelledSource(source_config([]), TOWN, SMALL)


def test_bags_that_do_not_fit_are_named(bags: list[str], tmp_path: Path) -> None:
    with pytest.raises(BagError, match="nowhere"):
        LabelledSource(source_config([str(tmp_path / "nowhere")]), TOWN, SMALL)
    unlabelled = Config.load("kitti", {"adaptation.source.bags": bags, "taxonomy": "town"})
    with pytest.raises(BagError, match=r"day-1: no ground truth on \(no topic is named\)"):
        LabelledSource(unlabelled, TOWN, SMALL)
    few = Taxonomy("few", TOWN.classes[:2], TOWN.palette[:2])
    with pytest.raises(
        BagError, match=r"day-1: no ground truth on /ground_truth/labels: class ids 2, .* of taxonomy few"
    ):
        LabelledSource(source_config(bags), few, SMALL)
    other = Config.load("town", source_config(bags).to_flat() | {"ground_truth.mapping": "moon"})
    with pytest.raises(ConfigError, match="taxonomy town has no mapping 'moon'"):
        LabelledSource(other, TOWN, SMALL)


def test_bags_of_another_layout_are_read_by_a_configuration_of_their_own(bags: list[str]) -> None:
    config = Config.load("kitti", {"adaptation.source.bags": bags, "adaptation.source.config": "town"})
    assert LabelledSource(config, TOWN, SMALL).load().training[0].labels is not None


def test_a_bag_whose_labels_belong_to_no_sweep_is_refused(tmp_path: Path) -> None:
    frame = drive(1)[0]
    with BagWriter(tmp_path / "bag") as writer:
        x, y, z = frame.points.T
        from sam_adapt_ros.messages.point_cloud import encode_cloud

        writer.write_cloud("/LIDAR_TOP", 10**18, "LIDAR_TOP", encode_cloud({"x": x, "y": y, "z": z}))
        sure = np.ones(len(x), np.float32)
        labels = (frame.points, frame.ground_truth, sure, TOWN.colors)
        writer.write_labels("/ground_truth/labels", 10**18 + 5_000_000, "LIDAR_TOP", *labels)
    frames = LabelledSource(source_config([str(tmp_path / "bag")]), TOWN, SMALL)
    with pytest.raises(BagError, match="no labelled frame to learn from"):
        frames.load()


# Learning with them ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dusk() -> list:
    return to_samples(drive(5, dusk=True))


@pytest.fixture(scope="module")
def day() -> list:
    return to_samples(drive(4, seed=300))


def run(training: SelfTraining, steps: int = 100) -> SelfTraining:
    while not training.finished and steps:
        training.step()
        steps -= 1
    return training


def test_batches_mix_in_the_source_and_the_statistics_stay(dusk: list, day: list) -> None:
    mixed, alone = (run(SelfTraining(source_network(), dusk, CONFIG, source)) for source in (day, ()))
    assert set(mixed.losses[0]) == {*alone.losses[0], *(f"source_{name}" for name in alone.losses[0])}
    assert all(losses["source_ce_3d"] > 0 for losses in mixed.losses)
    after = mixed.average.state_dict()
    for name, tensor in source_network().state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            assert torch.equal(after[name], tensor), name


def test_wrong_labels_on_the_target_are_outweighed_by_true_ones_of_the_source(dusk: list, day: list) -> None:
    wrong = [replace(sample, labels=np.full_like(sample.labels, 1)) for sample in dusk]
    config = CONFIG.model_copy(update={"steps": 16, "class_weight_exponent": 0.0})
    fusion = FUSIONS["product"]
    mixed, alone = (
        labelled_miou(run(SelfTraining(source_network(), wrong, config, source, 0.8)).average, day, fusion)
        for source in (day, ())
    )
    assert mixed > alone + 0.1


@pytest.mark.parametrize("at", [0, 4])
def test_resumed_equals_unbroken_with_source(dusk: list, day: list, tmp_path: Path, at: int) -> None:
    broken = run(SelfTraining(source_network(), dusk, CONFIG, day), at)
    broken.save(tmp_path / "training.safetensors")
    resumed = SelfTraining(source_network(), dusk, CONFIG, day)
    resumed.load(tmp_path / "training.safetensors")
    unbroken = run(SelfTraining(source_network(), dusk, CONFIG, day))
    assert run(resumed).losses == unbroken.losses
    states = (each.networks.state_dict() for each in (resumed, unbroken))
    assert all(torch.equal(a, b) for a, b in zip(*(state.values() for state in states), strict=True))


def test_learning_config_takes_a_source() -> None:
    assert learning_config(mode="with_source", **{"source.batch_share": 0.3}).adaptation.source.batch_share == 0.3
