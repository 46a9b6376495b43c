from pathlib import Path

import pytest
import torch
from learning_support import drive, source_network, to_samples

from sam_adapt_ros.adaptation.batchnorm import batchnorm_layers
from sam_adapt_ros.adaptation.self_training import SelfTraining
from sam_adapt_ros.config import SelfTrainingConfig
from sam_adapt_ros.errors import WeightsError

CONFIG = SelfTrainingConfig(
    steps=8, epochs=100, batch_size=2, learning_rate=2e-3, lambda_xm=0.1, class_weight_exponent=0.5
)


@pytest.fixture(scope="module")
def samples() -> list:
    return to_samples(drive(5, dusk=True))


def run(training: SelfTraining, steps: int = 100) -> SelfTraining:
    while not training.finished and steps:
        training.step()
        steps -= 1
    return training


def same(first: SelfTraining, second: SelfTraining) -> bool:
    pairs = zip(first.networks.state_dict().items(), second.networks.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for (_, a), b in pairs) and first.losses == second.losses


def test_the_same_seed_gives_the_same_student_and_another_another(samples: list) -> None:
    first, second = (run(SelfTraining(source_network(), samples, CONFIG)) for _ in range(2))
    assert same(first, second)
    third = run(SelfTraining(source_network(), samples, CONFIG.model_copy(update={"seed": 1})))
    assert not same(first, third)


def test_the_more_frames_the_longer_is_learned(samples: list) -> None:
    """Five frames in batches of two: two epochs are five steps, but not more than ``steps`` are taken."""
    config = CONFIG.model_copy(update={"epochs": 2.0})
    assert len(samples) == 5
    assert SelfTraining(source_network(), samples, config).steps == 5
    assert SelfTraining(source_network(), samples[:3], config).steps == 3
    assert SelfTraining(source_network(), samples, config.model_copy(update={"steps": 4})).steps == 4


@pytest.mark.parametrize("at", [0, 3, 7])
def test_resumed_equals_unbroken(samples: list, tmp_path: Path, at: int) -> None:
    broken = run(SelfTraining(source_network(), samples, CONFIG), at)
    broken.save(tmp_path / "training.safetensors")
    resumed = SelfTraining(source_network(), samples, CONFIG)
    resumed.load(tmp_path / "training.safetensors")
    assert resumed.done == at
    assert same(run(resumed), run(SelfTraining(source_network(), samples, CONFIG)))


def test_a_damaged_checkpoint_is_named(samples: list, tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    path.write_bytes(b"\x10" + bytes(40))
    with pytest.raises(WeightsError, match=r"training\.safetensors"):
        SelfTraining(source_network(), samples, CONFIG).load(path)


def test_true_labels_are_learned_and_the_statistics_stay(samples: list) -> None:
    training = run(SelfTraining(source_network(), samples, CONFIG.model_copy(update={"steps": 24})))
    first, last = training.losses[:4], training.losses[-4:]
    assert sum(losses["ce_2d"] for losses in last) < 0.85 * sum(losses["ce_2d"] for losses in first)
    before, after = source_network().state_dict(), training.average.state_dict()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor) == name.endswith(
            ("running_mean", "running_var", "num_batches_tracked")
        ), name


def test_affine_trains_the_normalization_layers_alone(samples: list) -> None:
    training = run(SelfTraining(source_network(), samples, CONFIG.model_copy(update={"parameters": "affine"})))
    trained = {f"{name}.{kind}" for name, _ in batchnorm_layers(source_network()) for kind in ("weight", "bias")}
    after = training.student.state_dict()
    changed = {name for name, tensor in source_network().state_dict().items() if not torch.equal(after[name], tensor)}
    assert changed
    assert changed <= trained


def test_nothing_labelled_is_nothing_to_do(samples: list) -> None:
    blank = [type(s)(s.points, s.camera, s.uv, s.images, s.rows, s.labels * 0 + 255) for s in samples]
    assert SelfTraining(source_network(), blank, CONFIG).finished


def test_a_loss_that_is_not_finite_stops_the_training(samples: list) -> None:
    training = SelfTraining(source_network(), samples, CONFIG)
    with torch.no_grad():
        training.student.image.heads.classify.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="step 0"):
        training.step()
