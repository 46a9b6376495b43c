"""The demo in the live view: what is published while it drives, then both models side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sam_adapt_ros.branch import Branch, BranchLabels
from sam_adapt_ros.evaluation.timeline import Event
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.messages import read_labels, stamp_ns
from sam_adapt_ros.pipelines.view import PUBLISHED, SOURCE, TITLES, TRUTH, Curve, Labels
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization.rerun_view import RerunView


class DemoView:
    """Layers: the source model, the labels of the weights in use, and the truth."""

    def __init__(self, view: RerunView, taxonomy: Taxonomy) -> None:
        self._view, self._taxonomy = view, taxonomy
        self._curve = Curve(taxonomy)
        self._events: list[Event] = []
        self._last = -1

    @classmethod
    @contextmanager
    def open(cls, taxonomy: Taxonomy, output: Path | None) -> Iterator[DemoView]:
        """output: an .rrd file; None: the viewer. Raises ConfigError without Rerun."""
        titles = {name: TITLES[name] for name in (SOURCE, PUBLISHED, TRUTH)}
        with RerunView(taxonomy, titles, "demo", output) as view:
            yield cls(view, taxonomy)

    def live(self, cloud: object) -> None:
        """A label cloud, as it has just been published. One that is already shown is passed over."""
        stamp = stamp_ns(cloud.header)  # type: ignore[attr-defined]
        if stamp <= self._last:
            return
        self._last = stamp
        points, ids, _ = read_labels(cloud)
        frame = Frame(stamp, cloud.header.frame_id, points)  # type: ignore[attr-defined]
        self._view.show(frame, {PUBLISHED: ids.astype("uint8")}, {})

    def begin_drive(self, events: list[Event]) -> None:
        """The drive from its beginning, with everything to compare. events: the gate's decisions and the rollbacks."""
        self._view.frames, self._events = 0, list(events)

    def begin_unseen_drive(self) -> None:
        """The curve starts anew."""
        self._curve = Curve(self._taxonomy)
        self._view.say("the unseen drive begins: the weights in use are those of the end of the drive before")

    def show(self, frame: Frame, source: BranchLabels, in_use: BranchLabels) -> None:
        """A frame as labelled by the source model and by the weights in use."""
        labels: dict[str, Labels] = {SOURCE: source[Branch.FUSED], PUBLISHED: in_use[Branch.FUSED]}
        if frame.ground_truth is not None:
            labels[TRUTH] = frame.ground_truth
        self._view.show(frame, labels, self._curve.add(frame, labels))
        while self._events and self._events[0].frame <= self._view.frames:
            event = self._events.pop(0)
            self._view.say(f"{event.outcome} {event.promoted}: {event.reason}")
