"""Weights as a folder in the layout of the Hugging Face hub: ``config.json``, ``model.safetensors``, ``README.md``.

The weights file is taken over byte by byte, so that it loads again as it was; ``config.json`` says in plain JSON what
it holds, for people and for the hub (https://huggingface.co/docs/hub/model-cards, ``id2label`` as in transformers).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam_adapt_ros.errors import OutputError, WeightsError
from sam_adapt_ros.io.atomic_write import write_atomically
from sam_adapt_ros.io.hashing import hash_file
from sam_adapt_ros.io.json_values import json_values
from sam_adapt_ros.io.outputs import output_errors
from sam_adapt_ros.io.whole_folder import whole_folder
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.weights import Weights

CONFIG, MODEL, CARD = "config.json", "model.safetensors", "README.md"
MODEL_TYPE = "sam_adapt_ros"


@dataclass(frozen=True)
class ModelFolder:
    """An exported model. weights: as loaded from it. config: the content of ``config.json``."""

    weights: Weights
    config: dict[str, Any]


def check_taken(folder: Path, force: bool) -> None:
    """Raises OutputError where the folder's name is taken. force: only by what is no export."""
    if not folder.exists():
        return
    if not (folder / CONFIG).is_file() or not (folder / MODEL).is_file():
        raise OutputError(f"{folder} exists and is not an exported model, so it is not replaced; choose another output")
    if not force:
        raise OutputError(f"{folder} exists; choose another output or give --force")


def export_folder(file: Path, weights: Weights, folder: Path, card: str) -> None:
    """Writes the folder, which takes its name when it is whole, in place of one that was there.

    weights: as loaded from ``file``. card: the text of ``README.md``. Raises OutputError.
    """
    with output_errors(folder):
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        _write(file, weights, folder.absolute(), card)


def _write(file: Path, weights: Weights, folder: Path, card: str) -> None:
    with whole_folder(folder) as partial:
        write_atomically(partial / MODEL, file.read_bytes())
        config = describe(weights) | {"sha256": hash_file(partial / MODEL)}
        write_atomically(partial / CONFIG, (json.dumps(json_values(config), indent=2) + "\n").encode())
        write_atomically(partial / CARD, card.encode())


def describe(weights: Weights) -> dict[str, Any]:
    """What ``config.json`` says of weights."""
    names = dict(enumerate(weights.classes))
    return {
        "model_type": MODEL_TYPE,
        "library_name": MODEL_TYPE,
        "architectures": [weights.architecture.network],
        "format": weights_files.FORMAT,
        "version": weights.version,
        "parent": weights.parent,
        "created": weights.created,
        "taxonomy": weights.taxonomy,
        "num_labels": len(names),
        "id2label": {str(number): name for number, name in names.items()},
        "label2id": {name: number for number, name in names.items()},
        "network": weights.architecture.model_dump(mode="json"),
        "history": [dict(entry) for entry in weights.history],
    }


def load_folder(folder: Path) -> ModelFolder:
    """The model of a folder that ``export_folder`` wrote. Raises WeightsError that names the file and what is wrong."""
    path = folder / CONFIG
    for name in (CONFIG, MODEL):
        if not (folder / name).is_file():
            raise WeightsError(f"{folder / name}: no such file: a folder of 'weights export' expected")
    try:
        config = json.loads(path.read_bytes())
        kind = config["model_type"]
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise WeightsError(f"{path}: not a model's configuration: JSON with a model_type expected") from None
    if kind != MODEL_TYPE:
        raise WeightsError(f"{path}: model_type: {MODEL_TYPE} expected, the folder has a model of {kind!r}")
    weights = weights_files.load(folder / MODEL)
    expected = json_values(describe(weights))
    for name in ("format", "version", "taxonomy", "id2label", "network"):
        if config.get(name) != expected[name]:
            raise WeightsError(
                f"{path}: {name}: {MODEL} has {_short(expected[name])}, here it is {_short(config.get(name))}: the two "
                "files are not of one export"
            )
    return ModelFolder(weights, config)


def import_folder(folder: Path, file: Path) -> Weights:
    """Writes the folder's weights to a file, as they were exported; returns them.

    Raises WeightsError where the folder is no export, or is damaged, OutputError where the file cannot be written.
    """
    model = load_folder(folder)
    with output_errors(file):
        file.absolute().parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, (folder / MODEL).read_bytes())
    return model.weights


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
