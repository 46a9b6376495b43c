"""The adapter: observes frames, and in rounds puts into the weight store what the gate lets through."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sam_adapt_ros.adaptation.adapter_files import AdapterFiles
from sam_adapt_ros.adaptation.buffer.frame_buffer import Admission
from sam_adapt_ros.adaptation.buffer.frame_checks import FrameChecks
from sam_adapt_ros.adaptation.buffer.frame_sequence import FrameSequence
from sam_adapt_ros.adaptation.buffer.frame_summary import summarize
from sam_adapt_ros.adaptation.labelled_source import LabelledSource
from sam_adapt_ros.adaptation.promotion.gate import Decision
from sam_adapt_ros.adaptation.round import Outcome, Round
from sam_adapt_ros.adaptation.round_context import RoundContext
from sam_adapt_ros.adaptation.round_schedule import Schedule
from sam_adapt_ros.adaptation.round_state import Phase, RoundState
from sam_adapt_ros.adaptation.round_summary import account
from sam_adapt_ros.adaptation.weight_store.store import WeightStore
from sam_adapt_ros.adaptation.weight_store.version import Record, Version
from sam_adapt_ros.cancellation import NEVER, CancellationToken, Cancelled
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import StoreError, WeightsError
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.geometry.transforms import Transform
from sam_adapt_ros.masks import MaskGenerator, build
from sam_adapt_ros.pseudo_labels import PseudoLabelGenerator
from sam_adapt_ros.segmentation import networks
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.device import choose_device, move
from sam_adapt_ros.segmentation.fusion import FUSIONS
from sam_adapt_ros.segmentation.weights import Weights
from sam_adapt_ros.taxonomy import Taxonomy

logger = logging.getLogger(__name__)


class Adapter:
    """Learns from the frames that it observes.

    store: initialized with the source model. folder: where the state is kept from process to process; None: nowhere.
    rounds: how many have begun. decisions: of the rounds that ended. unfit: frames that the checks refused, by reason,
    in this process. ``observe`` may be called from another thread than
    ``run_round``.
    """

    def __init__(
        self,
        config: Config,
        store: WeightStore,
        folder: str | Path | None = None,
        generator: MaskGenerator | None = None,
        taxonomy: Taxonomy | None = None,
    ) -> None:
        """generator: of masks; None: as configured. taxonomy: None: by the name in the source's weights file.

        Raises StoreError or WeightsError when the store or the folder cannot be used, ConfigError where the device has
        no memory left, and what ``LabelledSource`` does.
        """
        self.config = config.adaptation
        self.store = store
        self.source = weights_files.load(store.source().path)
        self.taxonomy = taxonomy or Taxonomy.load(self.source.taxonomy)
        device = choose_device(config.segmenter.device, "segmenter.device")
        network = weights_files.build_network(self.source, str(store.source().path))
        move(network, device, "segmenter.device")
        networks.configure(network, config.segmenter, device)
        fusion = FUSIONS[config.segmenter.fusion]
        masks = generator or build(config.masks)
        pseudo_labels = PseudoLabelGenerator(config.pseudo_labels, masks, fusion, len(self.taxonomy))
        labelled_source = LabelledSource(config, self.taxonomy, network.architecture)
        self._round = Round(self.config, network, pseudo_labels, self.taxonomy.classes, labelled_source)
        self.frame_checks = FrameChecks(self.config.buffer.min_points)
        self.unfit: Counter[str] = Counter()
        self.decisions: list[Decision] = []
        self._recipe = config.model_dump(include={"masks", "pseudo_labels", "adaptation"}, mode="json")
        self._files = AdapterFiles(None if folder is None else Path(folder))
        restored = self._files.restore(self.config.buffer, store.current().name)
        self.buffer, self.rounds = restored.buffer, restored.rounds
        self._state = restored.state  # of a round that was cancelled
        self.schedule = Schedule(self.config, self.buffer, restored.kept, first=not self.rounds)

    @property
    def phase(self) -> str:
        """``watching``, or what a round is doing: see ``Phase``."""
        return self._round.phase.value

    @property
    def losses(self) -> list[dict[str, float]]:
        """Of the present or last round, by step."""
        return self._round.losses

    def admit(self, stamp_ns: int, T_odom_lidar: Transform | None) -> Admission | None:
        """The admission of the frame of this stamp and pose, to be given to ``observe``; None: it is passed over.

        To be called for every frame of the stream, in order; see ``FrameBuffer.admit``.
        """
        return self.buffer.admit(stamp_ns, T_odom_lidar)

    def observe(
        self,
        frame: Frame,
        labels: NDArray[np.uint8],
        probability: NDArray[np.float32] | None = None,
        admission: Admission | None = None,
    ) -> str:
        """Offers a frame to learn from; returns what became of it: ``kept``, ``passed_over``, or why it is unusable.

        labels: (N,) as predicted by the weights in use, 255 = none. probability: (N,) of these, where it is known.
        admission: what ``admit`` gave for this frame; None: ``admit`` has not been called, and is called now. Only
        admitted frames are checked and compared with those before.
        """
        admission = admission or self.admit(frame.stamp_ns, frame.T_odom_lidar)
        if admission is None:
            return "passed_over"
        fault = self.frame_checks.fault(frame, labels)
        if fault:
            self.unfit[fault] += 1
            return fault
        if "intensity" not in self.source.architecture.point_inputs:
            frame = replace(frame, intensity=None)  # it would be kept for nothing
        summary = summarize(frame, labels, len(self.taxonomy), probability)
        kept = self.buffer.add(frame, summary, admission)
        if kept or admission.moved:  # else a stop at a light would be a drift
            self.schedule.drift_detector.observe(summary)
        self.schedule.kept += kept
        return "kept" if kept else "passed_over"

    def request_round(self) -> None:
        """Makes a round due as soon as there are frames enough for one (to observe: any), new or not; where one is
        under way, none."""
        if self._state is None:
            self.schedule.request()

    @property
    def cause(self) -> str:
        """Why a round is due: ``trigger`` (``request_round``), ``new frames`` or ``drift``; "" when none is."""
        return self.schedule.cause

    @property
    def lacking(self) -> dict[str, int]:
        """The number of frames that the next round still lacks: ``training``, ``held_out`` and ``new`` ones."""
        return self.schedule.lacking

    @property
    def ready(self) -> bool:
        """Whether there is a round to go on with, or one to begin."""
        return self._state is not None or bool(self.cause)

    @property
    def ready_at_end(self) -> bool:
        """The same when no more frames will come: half of the usual frames will do, and to observe, any."""
        return self.ready or self.schedule.due_at_end

    def fit_short_drive(self) -> str:
        """To be called when no more frames come for a while. Where nothing has been learned yet and the frames would
        do, were they split more finely into those to learn from and those held out, they are.

        Returns what was done in words, "" when nothing was.
        """
        schedule = self.schedule
        if self.rounds or self.ready_at_end or self.config.mode == "observe":
            return ""
        needed = schedule.needed_at_end
        blocks = self.buffer.fit_split(needed["training"], needed["held_out"])
        if not blocks:
            return ""
        training, held_out = len(self.buffer.training()), len(self.buffer.held_out())
        usual = self.config.buffer.split_block
        said = (
            f"the drive is short: which blocks of {blocks} are held out is chosen anew, so that there are {training} "
            f"frames to learn from and {held_out} held out"
        )
        if blocks == f"{usual:.1f} m":
            return said
        return (
            f"{said}; in blocks other than adaptation.buffer.split_block ({usual:g} m) these look more alike than "
            "usual, and the gate is the less strict for it"
        )

    @property
    def missing(self) -> list[str]:
        """Lines on what became of the frames, and on what a round at the end of the drive lacks."""
        counts, needed = self.buffer.counts, self.schedule.needed_at_end
        there = {"training": len(self.buffer.training()), "held_out": len(self.buffer.held_out())}
        outcomes = counts + self.unfit
        return account(sum(outcomes.values()), outcomes, there, needed)

    def run_round(self, token: CancellationToken = NEVER) -> Decision | None:
        """Begins a round, or goes on with the one that was cancelled; None when it is cancelled (again), or cannot go
        on and the frames would not do to begin it anew.

        Deterministic for the same frames, configuration and store. Raises StoreError when store or folder cannot be
        written, and can then be called again.
        """
        current = self.store.current()
        frames = self._frames_of_round(current)
        if frames is None:
            return None
        assert self._state is not None
        context = self._context(self._state, current, token, *frames)
        try:
            outcome = self._round.run(context)
            decision = self._settle(outcome, current, len(context.training))
        except Cancelled:
            return None
        finally:
            self._state = context.state
            self._round.phase = Phase.WATCHING  # only now: what is decided is in use
        self._forget_round()
        self.schedule.drift_detector.reset_reference()
        self.decisions.append(decision)
        self._files.note(self.rounds, context.state.kept_before, decision)
        return decision

    def save(self) -> None:
        """Writes the buffer to the folder, so that another process can go on. Raises StoreError."""
        self._files.save(self.buffer)

    def reset(self) -> None:
        """Forgets the frames and the round that was begun; what was promoted stays."""
        self.buffer.clear()
        self._forget_round()
        self._await_new_frames()
        self.save()

    def abandon_round(self) -> None:
        """Forgets the round that was begun, as when its weights were taken back; new frames begin the next one."""
        self._forget_round()
        self._await_new_frames()
        self.schedule.drift_detector.reset_reference()

    # Inside -----------------------------------------------------------------------------------------------------------

    @property
    def _recipe_text(self) -> str:
        return json.dumps(self._recipe, sort_keys=True)

    def _frames_of_round(self, current: Version) -> tuple[FrameSequence, FrameSequence] | None:
        """The training and the held-out frames of the round that was cancelled, or of one that begins here. They are
        read from the buffer once, since frames that come meanwhile push others out."""
        state, training, held_out = self._state, self.buffer.training(), self.buffer.held_out()
        if state is not None and state.fits((*training.keys, *held_out.keys), current.name, self._recipe_text):
            return training.of_keys(state.training), held_out.of_keys(state.held_out)
        if state is not None and not self.schedule.has_frames:
            logger.info("round %d cannot go on, and there are too few frames to begin it anew", state.number)
            self._forget_round()
            self._files.note(self.rounds, state.kept_before)
            return None
        return self._begin(current)

    def _context(
        self,
        state: RoundState,
        current: Version,
        token: CancellationToken,
        training: FrameSequence,
        held_out: FrameSequence,
    ) -> RoundContext:
        in_use = None if current.name == self.store.source().name else self._load(current)
        same_scene = self.schedule.is_same_scene(training, current.record.gate.get("mean_color"))
        return RoundContext(state, self._files.round, token, training, held_out, in_use, same_scene)

    def _load(self, current: Version) -> dict[str, Tensor]:
        """The weights in use. Raises StoreError when they are damaged, and sets them aside: the store rolls back."""
        try:
            return dict(weights_files.load(current.path).state)
        except WeightsError as error:
            kept = self.store.reject(current, str(error))
            raise StoreError("damaged", f"{error}; set aside as {kept}") from error

    def _begin(self, current: Version) -> tuple[FrameSequence, FrameSequence]:
        cause = self._state.cause if self._state else self.cause or "end"
        drift = " ".join(f"{name} {far:.2f}" for name, far in self.schedule.drift_detector.drift.items())
        logger.info("round %d begins: %s%s", self.rounds + 1, cause, f" (drift: {drift})" if drift else "")
        self.rounds += 1
        training, held_out = self.schedule.scene_frames()
        self.schedule.began()
        self._forget_round()
        keys, kept = (training.keys, held_out.keys), self.buffer.counts["kept"]
        self._state = RoundState(self.rounds, current.name, self._recipe_text, cause, *keys, {}, {}, kept)
        self.save()  # what is learned from has to survive a kill, so that the round can go on
        return training, held_out

    def _forget_round(self) -> None:
        self._state = None
        self._files.round.remove()

    def _await_new_frames(self) -> None:
        """The next round waits for frames that come from now on, in this process or in another."""
        self.schedule.restart()
        self._files.note(self.rounds, self.buffer.counts["kept"])

    def _settle(self, outcome: Outcome, current: Version, frames: int) -> Decision:
        """Puts what was promoted into the store, and to use."""
        decision = outcome.decision
        if not decision.promoted:
            return decision
        try:
            if outcome.state is None:
                version = self.store.source()
            else:
                record = Record(current.name, self._recipe, frames, decision.as_dict())
                version = self.store.add(self._weights(outcome, current, frames), record)
            self.store.promote(version, f"round {self.rounds}: {decision.reason}", over=current)
        except StoreError as error:
            if error.reason not in ("refused", "moved_on"):
                raise
            return Decision("", str(error), decision.verdicts, decision.baselines, decision.facts)
        try:
            self.store.prune(self.config.store.keep)
        except StoreError as error:
            logger.warning("old versions stay: %s", error)  # what was promoted is in use all the same
        return decision

    def _weights(self, outcome: Outcome, current: Version, frames: int) -> Weights:
        assert outcome.state is not None
        step: dict[str, Any] = {
            "step": "adapt",
            "promoted": outcome.decision.promoted,
            "frames": frames,
            "parent": current.name,
        }
        source = self.source
        return Weights(
            {name: tensor.detach().cpu() for name, tensor in outcome.state.items()},
            source.taxonomy,
            source.classes,
            source.architecture,
            (*source.history, step),
            parent=current.name,
        )
