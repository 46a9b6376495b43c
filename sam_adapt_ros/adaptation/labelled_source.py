"""Labelled frames of the source domain, where the user has some: batches mix in a part of them, and no candidate may be
worse on the others than the source model or the weights in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.bags.clips import find_bags
from sam_adapt_ros.cancellation import NEVER, CancellationToken
from sam_adapt_ros.config import ArchitectureConfig, Config
from sam_adapt_ros.errors import BagError, ConfigError, MessageError, TaxonomyError
from sam_adapt_ros.evaluation.confusion import Confusion
from sam_adapt_ros.messages.point_cloud import read_labels
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.fusion import Fusion, fuse
from sam_adapt_ros.segmentation.logits import compute_logits, labels_of
from sam_adapt_ros.segmentation.segmentation_network import SegmentationNetwork
from sam_adapt_ros.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)
class SourceSamples:
    """training: to mix into batches. held_out: from other stretches of road, to evaluate candidates."""

    training: tuple[Sample, ...] = ()
    held_out: tuple[Sample, ...] = ()


class LabelledSource:
    """Frames of ``adaptation.source.bags``, at most ``max_frames`` in all, evenly spaced, the end of each bag held out.

    The bags are checked at once; their frames are read when they are first needed, and kept in memory.
    """

    def __init__(self, config: Config, taxonomy: Taxonomy, architecture: ArchitectureConfig) -> None:
        """taxonomy: of the labels. architecture: of the network that the samples are for.

        Raises:
            ConfigError: there is no bag although the mode needs one, or the taxonomy lacks the configured mapping.
            BagError: a bag cannot be read, has no ground truth, or that of another taxonomy.
        """
        self._settings = config.adaptation.source
        self._architecture = architecture
        self._samples: SourceSamples | None = None
        self._mixed = config.adaptation.mode == "with_source"
        bags = find_bags(self._settings.bags)
        if not bags and self._mixed:
            raise ConfigError("adaptation.source.bags: mode with_source needs labelled bags of the source, got none")
        changes = {"taxonomy": config.taxonomy or taxonomy.name}
        preset = self._settings.config
        self._config = Config.load(preset, changes) if preset else config.model_copy(update=changes)
        self._sweeps = {bag: self._checked(bag, taxonomy) for bag in bags}

    def load(self, token: CancellationToken = NEVER) -> SourceSamples:
        """The samples; both parts are empty without bags.

        token: checked frame by frame; once it cancels, the next call begins anew.

        Raises:
            BagError: the mode needs training frames, and the bags have none.
            TaxonomyError: labels further on are of another data set.
            Cancelled: by the token.
        """
        if self._samples is None:
            self._samples = self._read(token)
        return self._samples

    def _checked(self, bag: Path, taxonomy: Taxonomy) -> int:
        """The number of the bag's sweeps. Raises what the constructor does."""
        truth = self._config.ground_truth
        if truth.mapping and truth.mapping not in taxonomy.mappings:
            known = ", ".join(taxonomy.mappings) or "none"
            raise ConfigError(
                f"adaptation.source: {bag}: taxonomy {taxonomy.name} has no mapping {truth.mapping!r} (known: {known})"
            )
        with BagReader(bag, self._config) as reader:
            if not reader.roles.ground_truth:
                raise BagError(f"adaptation.source: {bag}: no ground truth on {truth.topic or '(no topic is named)'}")
            try:
                first = next(reader.messages({truth.topic})).decode()
                taxonomy.classes_of(read_labels(first)[1], truth.mapping)
            except (MessageError, TaxonomyError, StopIteration) as error:
                raise BagError(f"adaptation.source: {bag}: no ground truth on {truth.topic}: {error}") from None
            return reader.sweeps

    def _read(self, token: CancellationToken) -> SourceSamples:
        training: list[Sample] = []
        held_out: list[Sample] = []
        total = sum(self._sweeps.values())
        chosen = np.linspace(0, total - 1, min(self._settings.max_frames, total)).round().astype(int)
        first = 0
        for bag, count in self._sweeps.items():
            numbers = (chosen[(chosen >= first) & (chosen < first + count)] - first).tolist()
            first += count
            samples = self._samples_of(bag, set(numbers), token)
            kept = len(samples) - round(self._settings.held_out * len(samples))
            training += samples[:kept]
            held_out += samples[kept:]
        if not training and self._mixed:
            raise BagError(f"adaptation.source: {', '.join(map(str, self._sweeps))}: no labelled frame to learn from")
        return SourceSamples(tuple(training), tuple(held_out))

    def _samples_of(self, bag: Path, numbers: set[int], token: CancellationToken) -> list[Sample]:
        samples = []
        with BagReader(bag, self._config) as reader:
            for frame in reader.frames(numbers):
                token.check()
                if frame.ground_truth is not None:
                    samples.append(Sample.from_frame(frame, self._architecture))
        samples = [sample for sample in samples if sample.has_labels]
        return samples


def labelled_miou(
    network: SegmentationNetwork, samples: Sequence[Sample], fusion: Fusion, token: CancellationToken = NEVER
) -> float:
    """Mean IoU of the fused prediction over all points of labelled samples. token: checked sample by sample."""
    confusion = Confusion(network.classes)
    for sample in samples:
        token.check()
        assert sample.labels is not None
        (logits,) = compute_logits(network, [sample])
        fused = fuse(fusion, logits)
        confusion.add(sample.labels, labels_of(fused))
    return confusion.miou()
