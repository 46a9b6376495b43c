"""Labels and reports of a drive, read back from the bag that ``Recorder`` wrote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.bags import MessageReader
from sam_adapt_ros.branch import Branch
from sam_adapt_ros.messages import read_labels, stamp_ns
from sam_adapt_ros.nodes.diagnostics.diagnostic_messages import read_diagnostics
from sam_adapt_ros.nodes.tools.recorder import DIAGNOSTICS, LABELS, STATUS

BRANCH_TOPICS = {
    Branch.FUSED: LABELS,
    Branch.IMAGE: "/segmenter/labels_2d",
    Branch.POINTS: "/segmenter/labels_3d",
}

Report = dict[str, Any]


@dataclass
class Recording:
    """labels: by sweep's stamp and branch, (N,) uint8 class ids.

    segmenter, adapter: their reports (``read_diagnostics``), each with the stamp of the newest sweep by then.
    """

    labels: dict[int, dict[Branch, NDArray[np.uint8]]] = field(default_factory=dict)
    segmenter: list[tuple[int, Report]] = field(default_factory=list)
    adapter: list[tuple[int, Report]] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Raises BagError."""
        recording = cls()
        branches = {topic: branch for branch, topic in BRANCH_TOPICS.items()}
        with MessageReader(path) as source:
            for message in source.messages():
                decoded = message.decode()
                if message.topic in branches:
                    _, class_id, _ = read_labels(decoded)
                    recording.labels.setdefault(stamp_ns(decoded.header), {})[branches[message.topic]] = class_id
                elif message.topic == DIAGNOSTICS:
                    if report := read_diagnostics(decoded):
                        recording.segmenter.append((message.log_time_ns, report))
                elif message.topic == STATUS:
                    recording.adapter.append((message.log_time_ns, read_diagnostics(decoded, "adapter")))
        return recording

    @property
    def seconds(self) -> float:
        """From the first labelled sweep to the last, by their stamps."""
        return (max(self.labels) - min(self.labels)) / 1e9 if self.labels else 0.0

    def frames_before(self, time_ns: int) -> int:
        """How many labelled sweeps have this stamp or an earlier one."""
        return sum(stamp <= time_ns for stamp in self.labels)

    def events(self, counter: str) -> list[tuple[int, Report]]:
        """The times at which one of the adapter's counters rose, once for each step, with the report of that time."""
        found, before = [], 0
        for time_ns, report in self.adapter:
            now = report.get(counter, 0)
            # A process that was started again counts from zero.
            found += [(time_ns, report)] * (now - before if now >= before else now)
            before = now
        return found

    def lost_in_swaps(self, sweeps: Iterable[int]) -> list[int]:
        """The sweeps (by stamp) without labels while the segmenter exchanged its weights.

        An exchange lasts from the report before it to the second one after it.
        """
        times = [time_ns for time_ns, _ in self.segmenter]
        swaps = [report.get("swaps", 0) for _, report in self.segmenter]
        exchanged = [place for place in range(1, len(swaps)) if swaps[place] > swaps[place - 1]]
        windows = [(times[place - 1], times[min(place + 1, len(times) - 1)]) for place in exchanged]
        unlabelled = (stamp for stamp in sweeps if Branch.FUSED not in self.labels.get(stamp, {}))
        return [stamp for stamp in unlabelled if any(start <= stamp <= end for start, end in windows)]
