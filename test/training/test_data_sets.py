import logging
from pathlib import Path
from typing import Any

import pytest
from rank_support import Frames, make_config
from small_network import make_frame

from sam_adapt_ros.config import Config, DataConfig
from sam_adapt_ros.datasets import Selection
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.segmentation import weights as files
from sam_adapt_ros.training import data_sets
from sam_adapt_ros.training.data_sets import open_sets
from sam_adapt_ros.training.supervised import train


@pytest.fixture
def config(tmp_path: Path) -> Config:
    given = {"dataset": "semantickitti", "roots": ["/a", "/b"], "split": "train"}
    data = {
        "day": DataConfig(**given, repeat=2, recordings=["0*"], cameras=["CAM_FRONT"], allow_missing=True),
        "night": DataConfig(**given, role="target", image="60x40"),
        "evening": DataConfig(**given, role="validation"),
    }
    return make_config(tmp_path, iterations=2, batch_size=2, checkpoint_every=2, data=data)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The arguments that data sets were opened by."""
    calls = []
    own_open = data_sets.open_dataset

    def open_dataset(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if args[0] == "bag":
            return own_open(*args, **options)
        return Frames(make_frame(seed, points=300) for seed in range(3))

    monkeypatch.setattr(data_sets, "open_dataset", open_dataset)
    return calls


def test_sets_of_each_role(config: Config, opened: list[tuple[Any, ...]]) -> None:
    source, target, validation = (open_sets(config, role) for role in ("source", "target", "validation"))
    assert [len(sets) for sets in (source, target, validation)] == [1, 1, 1]
    assert source[0].recipe.repeat == 2 and target[0].recipe.image == "60x40"
    assert source[0].labelled and not target[0].labelled and validation[0].labelled
    (name, roots, selection, taxonomy), of_target, _ = opened
    assert (name, roots, taxonomy.name) == ("semantickitti", ["/a", "/b"], "shapes")
    assert selection == Selection("train", ("0*",), ("CAM_FRONT",), True)
    assert of_target[3] is None  # a target's labels are not even read


def test_training_on_what_the_configuration_names(
    config: Config, opened: list[tuple[Any, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    result = train(config)
    assert files.load(result.weights).history[0]["frames"] == 3 * 2 + 3
    assert [set(entry) for entry in result.validation] == [{"iteration", "2d", "3d", "fused"}]
    assert "target_xm_2d" in caplog.text


def test_a_set_that_cannot_be_opened_is_named(config: Config) -> None:
    data = {"x": DataConfig(dataset="cityscapes", roots=["/data"])}
    wrong = config.model_copy(update={"training": config.training.model_copy(update={"data": data})})
    with pytest.raises(BagError, match=r"^training\.data\.x: .* expected, got 'cityscapes'"):
        train(wrong)


def test_bags_are_sets_beside_others(config: Config, opened: list[tuple[Any, ...]], night_bag: Path) -> None:
    bags = {"bags": [str(night_bag)], "validation_bags": [str(night_bag)]}
    training = config.training.model_copy(update=bags)
    both = Config.load("town").model_copy(update={"training": training})
    source, target, validation = (open_sets(both, role) for role in ("source", "target", "validation"))
    assert [len(sets) for sets in (source, target, validation)] == [2, 1, 2]
    assert source[1].dataset[0].ground_truth is not None
