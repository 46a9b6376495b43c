import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from learning_support import (
    SHAPES,
    NoMasks,
    drive,
    learning_config,
    make_adapter,
    make_frame,
    miou,
    source_network,
    source_weights,
    to_samples,
    watch,
)
from small_network import TINY

from sam_adapt_ros.adaptation import Record, WeightStore, batchnorm
from sam_adapt_ros.adaptation.adapter import Adapter
from sam_adapt_ros.adaptation.decision_log import DecisionLog
from sam_adapt_ros.adaptation.labelled_source import SourceSamples
from sam_adapt_ros.adaptation.promotion.gate import Gate
from sam_adapt_ros.adaptation.round import Round
from sam_adapt_ros.adaptation.round_context import RoundContext
from sam_adapt_ros.adaptation.round_summary import findings
from sam_adapt_ros.branch import Branch
from sam_adapt_ros.cancellation import CancellationToken, Cancelled
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import ConfigError, StoreError
from sam_adapt_ros.evaluation.segmentation_metrics import evaluate
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation import Segmenter
from sam_adapt_ros.segmentation import weights as weights_files
from sam_adapt_ros.segmentation.batch import Sample
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.weights import Weights

FRAMES = 16


def tensors(adapter: Adapter) -> dict[str, torch.Tensor]:
    return dict(weights_files.load(adapter.store.current().path).state)


@pytest.fixture(scope="module")
def dusk() -> list[Frame]:
    return drive(FRAMES, dusk=True)


@pytest.fixture(scope="module")
def adapted(dusk: list[Frame], tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """After one round on the dusk."""
    adapter = make_adapter(tmp_path_factory.mktemp("adapted"))
    watch(adapter, dusk)
    assert adapter.ready
    adapter.run_round()
    return adapter


def test_a_new_domain_is_learned(adapted: Adapter) -> None:
    unseen = drive(6, seed=900, dusk=True)
    decision = adapted.decisions[-1]
    assert decision.promoted, decision.reason
    before = evaluate(unseen, Segmenter(weights_files.build_network(source_weights(), "source"), SHAPES)).miou(
        "fused_seen"
    )
    assert miou(adapted, unseen) > before + 0.05
    record = adapted.store.current().record
    assert record.gate["promoted"] == decision.promoted
    assert record.frames == len(adapted.buffer.training())
    assert record.gate["labels"]["coverage"] > 0.3


@pytest.mark.usefixtures("full_gpu")
def test_a_gpu_without_free_memory_is_said(adapted: Adapter) -> None:
    """A node tries again until there is some."""
    with pytest.raises(ConfigError, match=r"^segmenter\.device: cuda has no free memory"):
        Adapter(learning_config(), adapted.store, None, NoMasks(), SHAPES)


def test_a_first_round_evaluates_by_frame_and_completes_branches_with_the_statistics_that_fit(
    dusk: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose, decide, judge, made = Round._choose_start, Round._decide, Gate.judge, {}

    held_out: list[Sample] = []
    frame: list[int] = []

    def chosen(round_: Round, context: RoundContext) -> None:
        choose(round_, context)
        context.start = context.batchnorm

    def decided(round_: Round, context: RoundContext):
        made.update(context.candidates, source=context.source)
        held_out.extend(context.labelled_held_out)
        frame.extend(round_._evaluation(context)[1].frame)
        return decide(round_, context)

    monkeypatch.setattr(Round, "_choose_start", chosen)
    monkeypatch.setattr(Round, "_decide", decided)
    parts: dict[str, str] = {}

    def judged(gate: Gate, candidates, baselines, source_miou, of_wholes):
        parts.update(of_wholes)
        return judge(gate, candidates, baselines, source_miou, of_wholes)

    monkeypatch.setattr(Gate, "judge", judged)
    adapter = make_adapter(tmp_path)
    watch(adapter, dusk)
    adapter.run_round()

    def points(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor for name, tensor in state.items() if Branch.of_tensor(name) is Branch.POINTS}

    trained_images = points(made["average 0.5, 2d only"])
    assert all(tensor.equal(made["batchnorm"][name]) for name, tensor in trained_images.items())
    assert not all(tensor.equal(made["source"][name]) for name, tensor in trained_images.items())
    assert [frame.count(number) for number in range(len(held_out))] == [len(each.points) for each in held_out]
    assert frame == sorted(frame) and len(held_out) > 1
    assert parts == {"average 0.5, 2d only": "average 0.5", "average 0.5, 3d only": "average 0.5"}


def test_what_was_promoted_says_where_it_comes_from(adapted: Adapter) -> None:
    weights = weights_files.load(adapted.store.current().path)
    assert weights.parent == adapted.store.source().name
    assert weights.history[-1]["step"] == "adapt"
    assert not adapted.store.verify()


def test_a_sweep_in_one_voxel_does_not_end_a_round(
    dusk: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a standing vehicle's under a bridge, or of a sensor that is covered."""
    monkeypatch.setattr(batchnorm, "BATCH_SIZE", 1)  # as the last batch may be
    adapter = make_adapter(tmp_path)
    heaps = [
        dataclasses.replace(frame, points=frame.points * np.float32(1e-3) + np.float32(0.1))
        if place % 5 == 2
        else frame
        for place, frame in enumerate(dusk)
    ]
    assert watch(adapter, heaps).count("kept") >= 9
    kept = [frame.points for frame in (*adapter.buffer.training(), *adapter.buffer.held_out())]
    assert any(np.ptp(points, axis=0).max() < 0.3 for points in kept)
    assert adapter.run_round() is not None


def test_it_is_not_ready_again_without_new_frames(adapted: Adapter) -> None:
    assert not adapted.ready


def test_the_same_frames_give_the_same_weights(adapted: Adapter, dusk: list[Frame], tmp_path: Path) -> None:
    again = make_adapter(tmp_path)
    watch(again, dusk)
    decision = again.run_round()
    assert decision.as_dict() == adapted.decisions[-1].as_dict()
    assert all(torch.equal(tensor, tensors(adapted)[name]) for name, tensor in tensors(again).items())


def test_a_requested_round_is_due_as_soon_as_there_are_frames_enough(dusk: list[Frame], tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path, learning_config(**{"self_training.steps": 2}))
    adapter.request_round()
    watch(adapter, dusk[:2])
    assert not adapter.ready
    watch(adapter, dusk[2:])
    assert adapter.cause == "trigger"
    assert adapter.run_round().facts["cause"] == "trigger"
    assert not adapter.ready
    adapter.request_round()  # at once, nothing new or not
    assert adapter.ready
    adapter.run_round(cancelled())
    adapter.request_round()  # a round is under way: no second one after it
    adapter.run_round()
    assert not adapter.ready


def test_another_light_makes_a_round_due_and_only_its_frames_count(tmp_path: Path) -> None:
    config = {"self_training.steps": 2, "rounds.new_frames": 1000, "drift.window": 5, "drift.new_frames": 6}
    adapter = make_adapter(tmp_path, learning_config(**config))
    watch(adapter, drive(FRAMES))
    adapter.run_round()
    watch(adapter, drive(6, seed=300, start=FRAMES))
    assert not adapter.cause  # by day as before
    assert adapter.lacking["training"] == 0
    watch(adapter, drive(6, seed=500, start=FRAMES + 6, dusk=True))
    assert adapter.schedule.drift_detector.drift
    assert adapter.lacking["training"] > 0  # what is there of the day does not help
    watch(adapter, drive(10, seed=600, start=FRAMES + 12, dusk=True))
    assert adapter.cause == "drift"
    decision = adapter.run_round()
    assert decision.facts["cause"] == "drift"
    assert sum(decision.facts["frames"].values()) <= 16 < len(adapter.buffer)
    assert not adapter.schedule.drift_detector.drift
    watch(adapter, drive(5, seed=700, start=FRAMES + 22, dusk=True))
    assert not adapter.cause
    watch(adapter, drive(6, seed=800, start=FRAMES + 27))
    assert adapter.cause == "drift"  # the day is back, with its frames


def test_in_another_scene_the_source_is_the_teacher_again(
    adapted: Adapter, dusk: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what is in use would be judged by its own words."""
    found: list[tuple[bool, bool]] = []

    def run(context: RoundContext) -> None:
        found.append((context.in_use is not None, context.same_scene))
        raise Cancelled

    for frames in (drive(FRAMES, seed=300), drive(FRAMES, seed=500, dusk=True)):
        adapter = Adapter(learning_config(), adapted.store, None, NoMasks(), SHAPES)
        watch(adapter, frames)
        monkeypatch.setattr(adapter._round, "run", run)
        assert adapter.run_round() is None
    assert found == [(True, False), (True, True)]


def test_observing_is_everything_but_training(adapted: Adapter, dusk: list[Frame], tmp_path: Path) -> None:
    observer = make_adapter(tmp_path, learning_config(mode="observe"))
    watch(observer, dusk)
    decision = observer.run_round()
    assert observer.store.current().name == observer.store.source().name
    assert not decision.promoted
    assert decision.reason.startswith("observe: pseudo-labels on ")
    assert decision.facts["labels"] == adapted.decisions[0].facts["labels"]
    assert decision.facts["labels"]["precision"] > 0.5
    assert decision.facts["batchnorm_shift"]["2d"] > decision.facts["batchnorm_shift"]["3d"] > 0
    assert {verdict.name for verdict in decision.verdicts} == {"temperature_scaling", "batchnorm", "start"}
    would = decision.facts["would_promote"]
    assert would in {"temperature_scaling", "batchnorm", "start"}
    assert decision.facts["steps"] == 0
    said = "\n".join(findings(decision.facts))
    points = decision.facts["labels"]["points"]
    assert f"of the {points:,} points that a camera sees in {len(observer.buffer.training())} frames" in said
    assert all(f"{name} " in said for name in SHAPES.classes)
    scores = {verdict.name: f"{verdict.score:.3f}" for verdict in decision.baselines}
    assert f"source {scores['source']}, BatchNorm statistics alone {scores['batchnorm']}" in said
    assert f"the gate would promote {would} without training ({would}: agreement with pseudo-labels " in said


def test_frames_that_are_pushed_out_while_a_round_begins_are_still_its_own(
    dusk: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = make_adapter(tmp_path, learning_config(**{"self_training.steps": 2}))
    watch(adapter, dusk)
    monkeypatch.setattr(adapter, "save", adapter.buffer.clear)  # as another thread's frames might
    decision = adapter.run_round()
    assert decision is not None and decision.facts["frames"]["training"] >= 4
    assert len(adapter.buffer) == 0


def test_a_clip_too_short_to_learn_from_can_be_observed(dusk: list[Frame], tmp_path: Path) -> None:
    observer = make_adapter(tmp_path, learning_config(mode="observe"))
    assert not observer.ready_at_end
    watch(observer, dusk[:2])
    assert not observer.ready
    assert observer.ready_at_end
    decision = observer.run_round()
    assert (decision.facts["cause"], decision.facts["frames"]["training"]) == ("end", 2)
    assert "agreement with" not in decision.reason
    assert decision.reason.endswith("no frame is held out, so that the gate cannot evaluate candidates")
    observer.request_round()
    assert observer.ready


def test_a_drive_of_four_metres_is_learned_from_once_it_ends(tmp_path: Path) -> None:
    """All in one block of the split: nothing would be held out, and no round would ever begin."""
    frames = [make_frame(100 + place, dusk=True, at=0.6 * place) for place in range(8)]
    adapter = make_adapter(tmp_path, learning_config(**{"self_training.steps": 2}))
    watch(adapter, frames[:3])
    assert adapter.fit_short_drive() == ""
    assert adapter.missing == [
        "3 frames kept of 3 seen, 3 needed for training (there are 3) and 2 held out for evaluation (there are 0)"
    ]
    watch(adapter, frames[3:])
    assert not adapter.ready_at_end
    said = adapter.fit_short_drive()
    assert "blocks of 2.5 m" in said and "other than adaptation.buffer.split_block (10 m)" in said
    assert not adapter.ready and adapter.ready_at_end
    decision = adapter.run_round()
    assert decision.facts["cause"] == "end"
    assert decision.facts["frames"]["training"] >= 3 and decision.facts["frames"]["held_out"] >= 2
    assert adapter.fit_short_drive() == ""  # what has been learned from stays so


def test_a_stop_is_no_drift(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path)
    stop = make_frame(0)
    watch(adapter, [dataclasses.replace(stop, stamp_ns=second * 10**9) for second in range(5)])
    assert len(adapter.schedule.drift_detector._latest) == 1


def test_with_source_batches_mix_labelled_frames_and_the_gate_replays_some(
    dusk: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Day:
        def __init__(self, *_: object) -> None: ...

        def load(self, token: CancellationToken) -> SourceSamples:
            return SourceSamples(to_samples(drive(4, seed=300)), to_samples(drive(3, seed=400)))

    monkeypatch.setattr("sam_adapt_ros.adaptation.adapter.LabelledSource", Day)
    adapter = make_adapter(tmp_path, learning_config(mode="with_source", **{"self_training.steps": 4}))
    watch(adapter, dusk)
    decision = adapter.run_round()
    assert set(adapter.losses[0]) >= {"ce_2d", "source_ce_2d", "source_ce_3d"}
    replayed = [verdict for verdict in decision.verdicts if "source_miou" in verdict.numbers]
    assert replayed
    for verdict in replayed:
        tolerance = adapter.config.gate.source_miou_tolerance
        worse = verdict.numbers["source_miou"] < verdict.numbers["source_miou/current"] - tolerance
        assert worse == any(reason.startswith("labelled replay") for reason in verdict.refusals)
        assert not (worse and verdict.name == decision.promoted)


class Checked(CancellationToken):
    """Calls back at every check."""

    def __init__(self, on_check: Callable[[], object]) -> None:
        super().__init__()
        self.on_check = on_check

    def check(self) -> None:
        self.on_check()
        super().check()


def cancelled() -> CancellationToken:
    token = CancellationToken()
    token.cancel()
    return token


def cancelled_in(phase: str, adapter: Adapter, after: int) -> CancellationToken:
    checks = iter(range(10_000))
    token = Checked(lambda: token.cancel() if adapter.phase == phase and next(checks) >= after else None)
    return token


def test_stopped_and_resumed_by_other_processes_equals_unbroken(
    adapted: Adapter, dusk: list[Frame], tmp_path: Path
) -> None:
    state = tmp_path / "state"
    broken = make_adapter(tmp_path, state=state)
    watch(broken, dusk)
    broken.save()
    for phase, after in (
        ("statistics", 2),
        ("pseudo_labels", 9),
        ("training", 3),
        ("training", 5),
        ("evaluation", 1),
    ):
        assert broken.ready
        assert broken.run_round(cancelled_in(phase, broken, after)) is None
        assert broken.phase == "watching"
        broken = make_adapter(tmp_path, state=state)
    decision = broken.run_round()
    assert decision.promoted == adapted.decisions[-1].promoted
    assert all(torch.equal(tensor, tensors(adapted)[name]) for name, tensor in tensors(broken).items())
    assert not (state / "round.npz").exists()
    assert not broken.ready, "nothing has come since that round began"
    assert not make_adapter(tmp_path, state=state).ready


def test_a_rollback_during_the_round_is_respected(dusk: list[Frame], tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path)
    watch(adapter, dusk)
    other = source_network().state_dict()
    other = {name: tensor + 0.01 if name.endswith("heads.classify.bias") else tensor for name, tensor in other.items()}

    def promote_another() -> None:
        if adapter.phase == "evaluation" and adapter.store.current().name == adapter.store.source().name:
            weights = dataclasses.replace(adapter.source, state=other)
            adapter.store.promote(adapter.store.add(weights, Record()))

    decision = adapter.run_round(Checked(promote_another))
    assert not decision.promoted
    assert "is in use by now" in decision.reason


def begun(adapter: Adapter, dusk: list[Frame]) -> None:
    """A round that was stopped in its first steps; its state is on disk."""
    watch(adapter, dusk)
    assert adapter.run_round(cancelled_in("training", adapter, 1)) is None
    assert adapter.ready
    adapter.save()


def test_another_process_begins_no_round_with_the_frames_of_an_abandoned_one(dusk: list[Frame], tmp_path: Path) -> None:
    state = tmp_path / "state"
    adapter = make_adapter(tmp_path, state=state)
    begun(adapter, dusk)
    adapter.abandon_round()
    adapter.save()
    for each in (adapter, make_adapter(tmp_path, state=state)):
        assert not each.ready
        assert each.lacking["new"] == each.config.rounds.new_frames


def test_a_round_of_other_weights_than_those_in_use_is_over(dusk: list[Frame], tmp_path: Path) -> None:
    """As after a kill between promoting its student and forgetting it."""
    state = tmp_path / "state"
    adapter = make_adapter(tmp_path, state=state)
    begun(adapter, dusk)
    other = {name: tensor + 0.01 for name, tensor in adapter.source.state.items()}
    adapter.store.promote(adapter.store.add(dataclasses.replace(adapter.source, state=other), Record()))
    for _ in range(2):  # processes
        again = make_adapter(tmp_path, state=state)
        assert not again.ready
        assert again.rounds == 1
        assert again.lacking["new"] == again.config.rounds.new_frames
        assert not (state / "round.npz").exists()


def test_a_round_that_cannot_go_on_is_not_begun_anew_with_too_few_frames(dusk: list[Frame], tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path, state=tmp_path / "state")
    begun(adapter, dusk)
    adapter.buffer.clear()
    assert adapter.run_round() is None
    assert not adapter.ready
    assert not adapter.decisions


def test_what_is_promoted_is_in_use_though_the_log_cannot_be_written(
    dusk: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = make_adapter(tmp_path, state=tmp_path / "state")
    watch(adapter, dusk)

    def full(*_: object) -> None:
        raise StoreError("disk_full", "decisions.jsonl: No space left on device")

    monkeypatch.setattr(DecisionLog, "append", full)
    decision = adapter.run_round()
    assert decision is not None and decision.promoted
    assert adapter.decisions == [decision]
    assert "No space left on device" in caplog.text


def test_a_round_decodes_twice_and_projects_and_resizes_once(
    dusk: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sam_adapt_ros.adaptation.buffer.stored_frame import StoredView
    from sam_adapt_ros.geometry import projection
    from sam_adapt_ros.segmentation import image_fitting

    adapter = make_adapter(tmp_path)
    watch(adapter, dusk)
    calls: Counter[str] = Counter()

    def counted(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def wrapper(*arguments: object) -> object:
            calls[name] += 1
            return original(*arguments)

        monkeypatch.setattr(owner, name, wrapper)

    counted(StoredView, "decode")
    counted(projection, "project")
    counted(image_fitting, "_resized")
    decision = adapter.run_round()
    assert decision is not None
    frames = sum(decision.facts["frames"].values())  # one camera each
    assert calls == {"decode": 2 * frames, "project": frames, "_resized": frames}


def test_damaged_weights_in_use_are_set_aside_and_learning_goes_on(dusk: list[Frame], tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path)
    watch(adapter, dusk)
    adapter.run_round()
    current = adapter.store.current()
    assert current != adapter.store.source()
    current.path.chmod(0o644)
    current.path.write_bytes(current.path.read_bytes()[:-50])
    adapter.request_round()
    with pytest.raises(StoreError, match=f"{current.name}.*set aside as") as raised:
        adapter.run_round()
    assert raised.value.reason == "damaged"
    assert adapter.store.current() == adapter.store.source()
    assert adapter.run_round() is not None


def test_a_recipe_may_crop_its_images(dusk: list[Frame], tmp_path: Path) -> None:
    """What is held out is judged whole."""
    adapter = make_adapter(tmp_path, learning_config(**{"self_training.augmentation.crop_image": 0.6}))
    watch(adapter, dusk)
    assert adapter.run_round() is not None


def test_the_segmenters_threads_are_not_the_adapters(dusk: list[Frame], tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    config = learning_config(**{"self_training.steps": 1})
    adapter = make_adapter(tmp_path, Config.from_flat({**config.to_flat(), "segmenter.threads": threads + 3}))
    watch(adapter, dusk)
    adapter.run_round()
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("inputs", [[], ["intensity"]])
def test_intensity_is_kept_where_the_network_asks_for_it(tmp_path: Path, inputs: list[str]) -> None:
    torch.manual_seed(0)
    architecture = TINY.model_copy(update={"point_inputs": inputs})
    state = Network(len(SHAPES), architecture).state_dict()
    store = WeightStore(tmp_path / "store")
    store.initialize(Weights(state, SHAPES.name, SHAPES.classes, architecture))
    adapter = Adapter(learning_config(), store, None, NoMasks(), SHAPES)
    frames = [dataclasses.replace(frame, intensity=np.arange(800, dtype=np.float32)) for frame in drive(3)]
    for frame in frames:
        assert adapter.observe(frame, frame.ground_truth) == "kept"
    kept = [*adapter.buffer.training(), *adapter.buffer.held_out()]
    assert len(kept) == 3
    assert all((frame.intensity is not None) == bool(inputs) for frame in kept)
