"""Weights as a folder in the Hugging Face layout, and back."""

import json
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from store_weights import make_weights
from typer.testing import CliRunner

from sam_adapt_ros import cli
from sam_adapt_ros.errors import OutputError, SamAdaptError, WeightsError
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.model_folder import load_folder
from sam_adapt_ros.segmentation.weights import Weights

TRAINED = {
    "step": "train",
    "validation": {"fused": 0.91486},
    "training": {"bags": [f"out/secret/day-{number}" for number in range(1, 17)], "iterations": 2000},
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small weights in a file of their own."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    weights_files.save(path, make_weights(3, history=(TRAINED, {"step": "adapt", "frames": 12})))
    return path


@pytest.fixture(scope="module")
def weights(source: Path) -> Weights:
    return weights_files.load(source)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli.app, ["weights", *map(str, arguments)])
    if isinstance(result.exception, SamAdaptError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def summary(tmp_path: Path, weights: Weights) -> Path:
    """As an evaluation leaves it; one class did not occur, one branch saw nothing."""
    road, building = weights.classes
    iou = {branch: {road: None if branch == "fused" else 0.5, building: 0.75} for branch in ("2d", "fused", "3d")}
    facts = {"bag": "/data/secret/drive", "weights": weights.version, "frames": 12, "iou": iou}
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({**facts, "miou": {"2d": 0.625, "fused": 0.75, "3d": None}}))
    return path


def test_a_model_comes_back_bit_for_bit(tmp_path: Path, summary: Path, source: Path, weights: Weights) -> None:
    run("export", source, tmp_path / "city", "--summary", summary, "-c", "town", "--name", "City: by day")
    folder = tmp_path / "city"
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    said = run("import", folder, tmp_path / "back.safetensors")
    assert (tmp_path / "back.safetensors").read_bytes() == source.read_bytes()
    assert weights.version in said and "road" in said
    assert load_file(folder / "model.safetensors").keys() == weights.state.keys()  # what any reader of the format sees
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {str(place): name for place, name in enumerate(weights.classes)}
    assert config["version"] == weights.version and config["network"]["image_width"] == 480


def test_the_card_has_classes_sensors_training_and_figures(tmp_path: Path, summary: Path, source: Path) -> None:
    run("export", source, tmp_path / "city", "--summary", summary, "-c", "town", "--name", "City: by day")
    _, head, card = (tmp_path / "city" / "README.md").read_text().split("---\n", 2)
    facts = yaml.safe_load(head)
    assert facts["library_name"] == "sam_adapt_ros"
    [model] = facts["model-index"]
    assert model["name"] == "City: by day"
    [result] = model["results"]
    assert result["dataset"] == {"name": "drive", "type": "drive"}
    assert [(each["name"], each["value"]) for each in result["metrics"]] == [
        *(("mean IoU, 2d", 0.625), ("mean IoU, fused", 0.75))
    ]
    for line in (
        *("# City: by day\n", "| 0 | road |\n", "| LiDAR | `/LIDAR_TOP` |\n", "1. train\n", "   - iterations: 2000\n"),
        *("   - bags: day-1, day-2, day-3, day-4, day-5 and 11 more\n", "480 x 240", "of 12 frames with true labels"),
        *(
            "| | 2d | fused |\n",
            "| road | 0.500 | – |\n",
            "| **mean** | 0.625 | 0.750 |\n",
            "2. adapt\n   - frames: 12\n",
            "   - validation: fused 0.9149\n",
        ),
    ):
        assert line in card
    assert "secret" not in card  # people's folders are not for the hub


def test_a_card_without_figures_says_so(tmp_path: Path, source: Path) -> None:
    run("export", source, tmp_path / "city")
    text = (tmp_path / "city" / "README.md").read_text()
    assert "Nothing was measured of this very version." in text
    assert "model-index" not in text and yaml.safe_load(text.split("---\n", 2)[1])


def test_figures_of_other_weights_are_not_taken(tmp_path: Path, summary: Path, source: Path) -> None:
    facts = json.loads(summary.read_text())
    summary.write_text(json.dumps(facts | {"weights": "0123"}))
    with pytest.raises(WeightsError, match=r"summary\.json: measured with weights 0123, the card is of"):
        run("export", source, tmp_path / "city", "--summary", summary)
    summary.write_text("[]")
    with pytest.raises(WeightsError, match=r"summary\.json: not a summary\.json with IoU by class"):
        run("export", source, tmp_path / "city", "--summary", summary)
    assert not (tmp_path / "city").exists()


def test_only_an_export_is_replaced(tmp_path: Path, source: Path) -> None:
    folder = tmp_path / "city"
    run("export", source, folder)
    with pytest.raises(OutputError, match="city exists; choose another output or give --force"):
        run("export", source, folder)
    (folder / "README.md").write_text("old")
    run("export", source, folder, "--force")
    assert "# small\n" in (folder / "README.md").read_text()
    (tmp_path / "photos").mkdir()
    with pytest.raises(OutputError, match="photos exists and is not an exported model"):
        run("export", source, tmp_path / "photos", "--force")


def change_config(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def test_a_folder_that_is_no_export_is_refused(tmp_path: Path, source: Path) -> None:
    folder, file = tmp_path / "city", tmp_path / "back.safetensors"
    with pytest.raises(WeightsError, match=r"city/config\.json: no such file: a folder of 'weights export' expected"):
        run("import", folder, file)
    run("export", source, folder)
    change_config(folder, model_type="bert")
    with pytest.raises(WeightsError, match="model_type: sam_adapt_ros expected, the folder has a model of 'bert'"):
        run("import", folder, file)
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json: not a model's configuration"):
        run("import", folder, file)
    assert not file.exists()


def test_files_that_are_not_of_one_export_are_refused(tmp_path: Path, source: Path) -> None:
    folder, file = tmp_path / "city", tmp_path / "back.safetensors"
    run("export", source, folder)
    change_config(folder, taxonomy="pandaset")
    with pytest.raises(WeightsError, match=r'taxonomy: model\.safetensors has "\w+", here it is "pandaset"'):
        run("import", folder, file)
    run("export", source, folder, "--force")
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match=r"model\.safetensors: checksum: the content is damaged"):
        run("import", folder, file)
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors: no such file"):
        load_folder(folder)
    assert not file.exists()


def test_an_earlier_file_is_replaced_only_by_force(tmp_path: Path, source: Path) -> None:
    run("export", source, tmp_path / "city")
    (tmp_path / "back.safetensors").write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        run("import", tmp_path / "city", tmp_path / "back.safetensors")
    assert (tmp_path / "back.safetensors").read_bytes() == b"precious"
    run("import", tmp_path / "city", tmp_path / "back.safetensors", "--force")
    assert (tmp_path / "back.safetensors").read_bytes() == source.read_bytes()
