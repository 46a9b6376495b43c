"""Bags, labels and runs in the live view: what the models make of each frame, side by side."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.adaptation import StoreReader
from sam_adapt_ros.bags import BagReader, MessageReader
from sam_adapt_ros.bags.clips import find_bags
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.evaluation.timeline import WINDOW
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry.projection import project
from sam_adapt_ros.messages import read_labels, stamp_ns
from sam_adapt_ros.pipelines.pseudo_label import TOPIC as PSEUDO_LABELS
from sam_adapt_ros.pipelines.replay import LABELS
from sam_adapt_ros.progress import Stages, no_stages, track
from sam_adapt_ros.segmentation import Segmenter, load_segmenter
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization.rerun_view import RerunView

SOURCE, ADAPTED, PUBLISHED, TRUTH = "source", "adapted", "published", "truth"
"""Layers of the view."""
TITLES = {
    SOURCE: "source model",
    ADAPTED: "adapted weights",
    PUBLISHED: "published labels",
    TRUTH: "ground truth",
}
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Viewed:
    """What one path stands for.

    bag: with the sensors' messages, None where only labels are left. labels: a bag of label clouds on ``topic``; None:
    the model's are shown. compared: whether the source model's labels are shown beside them.
    """

    bag: Path | None
    labels: Path | None = None
    topic: str = LABELS
    compared: bool = True


def find_viewed(paths: Sequence[Path]) -> list[Viewed]:
    """What the paths stand for: bags with the sensors' messages, bags of labels, results of ``replay`` or ``demo``, and
    folders of bags. Of labels that lie in a run's results, the bag that they are of is found where it still is.

    Raises BagError for a path that is none of these.
    """
    found: list[Viewed] = []
    for path in paths:
        run = path if (path / "summary.json").is_file() else path.parent if _is_labels(path) else None
        facts = _facts(run / "summary.json") if run and (run / "summary.json").is_file() else {}
        inside = next((path / name for name in ("labels", "pseudo_labels") if (path / name).is_dir()), path)
        bags = {each["name"]: Path(each["bag"]) for each in facts.get("bags", ())}
        for bag in find_bags([inside]):
            topic = _label_topic(bag)
            if topic is None:
                found.append(Viewed(bag))
                continue
            of = bags.get(bag.name) or (Path(facts["bag"]) if not bags and "bag" in facts else None)
            found.append(Viewed(of if of and of.exists() else None, bag, topic, "adaptation" in facts))
    return found


def view(
    viewed: Sequence[Viewed],
    config: Config,
    output: Path | None,
    adapted: Path | None = None,
    stages: Stages = no_stages,
) -> RerunView:
    """Shows every frame: as labelled by the source model, by ``adapted`` (weights, or a weight store) or in the labels
    that were published, and as it truly is, where that is known.

    output: an .rrd file; None: the viewer. Returns the view, closed. Raises BagError, WeightsError, OutputError,
    ConfigError.
    """
    segmenter, config = load_segmenter(config)
    better = None if adapted is None else Segmenter.load(_weights(adapted), config.segmenter, segmenter.taxonomy)
    layers = [SOURCE] if any(each.labels is None or each.compared for each in viewed) else []
    layers += [ADAPTED] if better else []
    layers += [PUBLISHED] if any(each.labels for each in viewed) else []
    title = ", ".join((each.labels or each.bag or Path()).name for each in viewed)
    with ExitStack() as stack:
        shown = None
        for each in viewed:
            curve = Curve(segmenter.taxonomy)
            with stages(f"viewing {(each.labels or each.bag or Path()).name}") as progress:
                frames = _frames(each, config)
                for frame, published in track(frames, progress, _count(each, config)):
                    labels: dict[str, Labels] = {}
                    if each.bag and (each.labels is None or each.compared):
                        labels[SOURCE] = segmenter(frame).labels
                    if each.bag and better:
                        labels[ADAPTED] = better(frame).labels
                    if published is not None:
                        labels[PUBLISHED] = published
                    if frame.ground_truth is not None:
                        labels[TRUTH] = frame.ground_truth
                    if shown is None:
                        titles = {name: TITLES[name] for name in (*layers, TRUTH) if name in labels or name in layers}
                        shown = stack.enter_context(RerunView(segmenter.taxonomy, titles, title, output))
                    shown.show(frame, labels, curve.add(frame, labels))
    if shown is None:
        raise BagError(f"{title}: there is no frame to show")
    return shown


class Curve:
    """The learning curve: by layer, mean IoU over the last ``WINDOW`` frames, of the points that a camera sees, or of
    all points of a frame in which none does."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._classes = len(taxonomy)
        self._windows: dict[str, deque[Confusion]] = {}

    def add(self, frame: Frame, labels: dict[str, Labels]) -> dict[str, float]:
        """The values after one more frame; none without ground truth."""
        truth = frame.ground_truth
        if truth is None:
            return {}
        seen = np.any([project(frame.points, view).valid for view in frame.views], axis=0) if frame.views else None
        rows = seen if seen is not None and seen.any() else np.ones(len(truth), bool)
        values = {}
        for layer, ids in labels.items():
            if layer == TRUTH:
                continue
            window = self._windows.setdefault(layer, deque(maxlen=WINDOW))
            window.append(Confusion(self._classes))
            window[-1].add(truth[rows], ids[rows])
            together = Confusion(self._classes)
            for confusion in window:
                together += confusion
            values[layer] = together.miou()
        return values


def _frames(viewed: Viewed, config: Config) -> Iterator[tuple[Frame, Labels | None]]:
    """Every frame, with the labels that were published of it."""
    if viewed.labels is None:
        assert viewed.bag is not None
        with BagReader(viewed.bag, config) as reader:
            yield from ((frame, None) for frame in reader.frames())
        return
    with MessageReader(viewed.labels) as source:
        clouds = (message.decode() for message in source.messages({viewed.topic}))
        if viewed.bag is None:
            for cloud in clouds:
                points, class_id, _ = read_labels(cloud)
                yield Frame(stamp_ns(cloud.header), cloud.header.frame_id, points), class_id.astype(np.uint8)
            return
        by_stamp = {stamp_ns(cloud.header): read_labels(cloud)[1].astype(np.uint8) for cloud in clouds}
    with BagReader(viewed.bag, config) as reader:
        for frame in reader.frames():
            ids = by_stamp.get(frame.stamp_ns)
            if ids is not None and len(ids) == len(frame.points):
                yield frame, ids


def _count(viewed: Viewed, config: Config) -> int:
    if viewed.labels is not None:
        with MessageReader(viewed.labels) as source:
            return source.topics[viewed.topic].count
    assert viewed.bag is not None
    with BagReader(viewed.bag, config, log=str) as reader:
        return reader.sweeps


def _label_topic(bag: Path) -> str | None:
    """The topic of label clouds of a bag that has nothing else to show."""
    with MessageReader(bag) as reader:
        return next((topic for topic in (LABELS, PSEUDO_LABELS) if topic in reader.topics), None)


def _is_labels(path: Path) -> bool:
    return path.name in ("labels", "pseudo_labels")


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _weights(path: Path) -> Path:
    """A weights file, or that in use in a weight store."""
    return StoreReader(path).current().path if path.is_dir() else path
