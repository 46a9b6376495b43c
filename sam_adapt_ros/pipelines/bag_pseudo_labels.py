"""The adapter's pseudo-labels of a whole bag, by the adapter's own generator and ensemble."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sam_adapt_ros.adaptation.batchnorm import reestimate_batchnorm
from sam_adapt_ros.adaptation.round import label_ensemble
from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.masks import MaskGenerator
from sam_adapt_ros.progress import Progress, no_progress, track
from sam_adapt_ros.pseudo_labels import FramePrediction, PreparedFrame, PseudoLabelGenerator, PseudoLabels, Selection
from sam_adapt_ros.pseudo_labels.selection import Candidates
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.visualization.run_report import evenly_spaced

logger = logging.getLogger(__name__)


class BagPseudoLabels:
    """What the adapter would learn from, were the frames of a bag those of one round.

    The bag is read three times, so that no more than the predictions stay in memory (some 20 bytes a point): for the
    BatchNorm statistics, for the ensemble's predictions, and by ``frames`` for the masks.

    stamps, predictions, voted, selections: by frame, in the order of ``frames``. frames_in, dropped, camera_drops,
    notices: of the bag's sweeps, as ``BagReader`` counts them.
    """

    def __init__(
        self, bag: Path, config: Config, segmenter: Segmenter, masks: MaskGenerator, progress: Progress = no_progress
    ) -> None:
        """segmenter: of the source model. progress: of the first two passes, in frames.

        Raises BagError, MaskError, ConfigError or CalibrationError that names the part that does not fit.
        """
        self._bag, self._config, self._source = bag, config, segmenter.network
        self._log = cache(logger.warning)  # once, though the bag is read three times
        self.generator = PseudoLabelGenerator(config.pseudo_labels, masks, segmenter.fusion, len(segmenter.taxonomy))
        self.generator.check_branches(self._source)
        with BagReader(bag, config, self._log) as reader:
            sweeps = reader.sweeps
        used = evenly_spaced(sweeps, config.adaptation.buffer.max_frames)
        total = len(used) + sweeps
        samples = track(self._samples(used), progress, total)
        statistics = reestimate_batchnorm(self._source, samples, config.adaptation.batchnorm)
        networks = label_ensemble(self._source, statistics, self.generator)
        self.predictions: list[FramePrediction] = []
        self.stamps: list[int] = []
        for done, (frame, prepared) in enumerate(self.frames(), len(used) + 1):
            self.stamps.append(frame.stamp_ns)
            self.predictions.append(self.generator.predict(networks, prepared))
            progress(done, total)
        self.voted: list[Candidates] = self.generator.voted(self.predictions)
        self.selections: list[Selection] = self.generator.select(self.predictions)[0]

    def labelled(self) -> Iterator[tuple[Frame, FramePrediction, Selection, PseudoLabels]]:
        """The last pass: every frame with its pseudo-labels, direct propagation for comparison included."""
        for place, (frame, prepared) in enumerate(self.frames()):
            selection = self.selections[place]
            made = self.generator.densify(frame.views, prepared.seen, selection.labels, compare_direct=True)
            yield frame, self.predictions[place], selection, made

    def frames(self) -> Iterator[tuple[Frame, PreparedFrame]]:
        """Every frame of the bag, projected and resized."""
        visibility = self._config.pseudo_labels.visibility
        with BagReader(self._bag, self._config, self._log) as reader:
            for frame in reader.frames():
                yield frame, PreparedFrame.of(frame, self._source.architecture, visibility)
            counts = reader.counts
            self.frames_in, self.dropped, self.camera_drops = reader.sweeps, counts.dropped, counts.cameras
            self.notices = reader.notices

    def _samples(self, only: set[int]) -> Iterator[Sample]:
        with BagReader(self._bag, self._config, self._log) as reader:
            for frame in reader.frames(only):
                yield Sample.from_frame(frame, self._source.architecture)
