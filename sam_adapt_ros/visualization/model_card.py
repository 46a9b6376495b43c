"""The model card of exported weights, as Markdown: classes, sensors, training, measured figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import WeightsError
from sam_adapt_ros.evaluation.segmentation_metrics import score_text
from sam_adapt_ros.segmentation.weights import Weights

_NAMES_SHOWN = 5


def model_card(weights: Weights, title: str, summaries: Sequence[Path] = (), vehicle: Config | None = None) -> str:
    """The card's text.

    summaries: ``summary.json`` of replays and evaluations by these weights. vehicle: whose sensors are described.
    Raises WeightsError that names a summary that cannot be read, has no IoU, or is of other weights.
    """
    template = jinja2.Template(Path(__file__).with_suffix(".md.j2").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        weights=weights,
        network=weights.architecture.model_dump(),
        sensors=_sensors(vehicle) if vehicle else [],
        history=[_step(entry) for entry in weights.history],
        results=[_result(path, weights) for path in summaries],
    )


def _sensors(vehicle: Config) -> list[tuple[str, str]]:
    cameras = [f"`{name}`: `{camera.image}`" for name, camera in vehicle.cameras.items()]
    return [("LiDAR", f"`{vehicle.lidar.topic}`"), ("cameras", ", ".join(cameras) or "none")]


def _step(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A step of the weights' history; settings in one line, names of bags without their folders."""
    facts = [(name, _text(value)) for name, value in entry.items() if name not in ("step", "training")]
    training = entry.get("training")
    if isinstance(training, Mapping):
        facts += [(name, _text(value)) for name, value in training.items()]
    return {"title": str(entry.get("step", "step")), "facts": facts}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        shown = ", ".join(_text(each) for each in value[:_NAMES_SHOWN])
        return f"{shown} and {len(value) - _NAMES_SHOWN} more" if len(value) > _NAMES_SHOWN else shown
    text = str(value).replace("\n", " ")
    return Path(text).name if "/" in text else text


def _result(path: Path, weights: Weights) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_bytes())
        measured_with, miou, iou = facts["weights"], facts["miou"], facts["iou"]
        name = Path(str(facts.get("bag") or path.parent.name)).name
        rows = [(each, [score_text(iou[branch][each]) for branch in miou]) for each in weights.classes]
        rows.append(("**mean**", [score_text(value) for value in miou.values()]))
        frames = int(facts["frames"])
        known = {branch: float(value) for branch, value in miou.items() if value is not None}
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path}: not a summary.json with IoU by class ({type(error).__name__}: {error})") from None
    if measured_with != weights.version:
        raise WeightsError(f"{path}: measured with weights {measured_with}, the card is of {weights.version}")
    return {"name": name, "kind": _slug(name), "frames": frames, "miou": known, "rows": _of_known(rows, miou)}


def _of_known(rows: Iterable[tuple[str, list[str]]], miou: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Without the columns of branches that have no mean."""
    kept = [place for place, value in enumerate(miou.values()) if value is not None]
    return [(name, [values[place] for place in kept]) for name, values in rows]


def _slug(name: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in name.lower()).strip("-") or "bag"
