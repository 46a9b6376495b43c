"""One round from the bags of several vehicles."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from learning_support import SHAPES, drive, learning_config, make_frame, source_weights
from typer.testing import CliRunner

from sam_adapt_ros import cli
from sam_adapt_ros.adaptation import WeightStore
from sam_adapt_ros.adaptation.adapter import Adapter
from sam_adapt_ros.adaptation.buffer.frame_buffer import FrameBuffer
from sam_adapt_ros.adaptation.promotion.gate import Decision
from sam_adapt_ros.adaptation.round import Round
from sam_adapt_ros.adaptation.weight_store.transfer import transfer
from sam_adapt_ros.bags import Counts
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError, OutputError, StoreError
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.io.lock import locked
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.pipelines import bag_frames, fleet_adapt
from sam_adapt_ros.pipelines.fleet_frames import join_frames, share_of_buffer
from sam_adapt_ros.segmentation import weights as weights_files

VEHICLES = {
    "first": drive(12, dusk=True),
    "second": drive(12, seed=300, dusk=True),
    "day": drive(12, seed=500),
    "short": [make_frame(700, dusk=True)],
}


class FakeReader:
    """The drives above by the bags' names; ``broken`` ends after two frames."""

    def __init__(self, path: Path, config: Config, **_: object) -> None:
        self.path, self.counts, self.notices = path, Counts(), Notices()
        self.drive = VEHICLES["first" if path.name == "broken" else path.name]
        self.sweeps = len(self.drive)

    def __enter__(self) -> "FakeReader":
        return self

    def __exit__(self, *_: object) -> None: ...

    def frames(self) -> Iterator[Frame]:
        yield from self.drive[:2] if self.path.name == "broken" else self.drive
        if self.path.name == "broken":
            raise BagError(f"{self.path}: a chunk is damaged")


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bag_frames, "BagReader", FakeReader)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    taxonomy = {"name": "shapes", "classes": [{"name": name, "color": [9, 9, 9]} for name in SHAPES.classes]}
    (tmp_path / "shapes.yaml").write_text(yaml.safe_dump(taxonomy))
    weights_files.save(tmp_path / "source.safetensors", source_weights())
    values = learning_config(**{"self_training.steps": 4, "buffer.max_frames": 16}).to_flat()
    given = {
        "taxonomy": str(tmp_path / "shapes.yaml"),
        "segmenter.weights": str(tmp_path / "source.safetensors"),
        "masks.generator": "regions",
    }
    return Config.from_flat({**values, **given})


def adapt(tmp_path: Path, config: Config, *names: str, **options: object) -> fleet_adapt.FleetRound:
    bags = [tmp_path / name for name in names]
    return fleet_adapt.fleet_adapt(tmp_path / "store", bags, config, tmp_path / "fleet.json", **options)  # type: ignore[arg-type]


def test_the_bags_make_one_round_whose_version_every_vehicle_takes(tmp_path: Path, config: Config) -> None:
    vehicle = WeightStore(tmp_path / "vehicle")
    vehicle.initialize(source_weights())
    result = adapt(tmp_path, config, "first", "second")
    assert result.decision is not None
    frames = result.decision.facts["frames"]
    in_round = {name: facts["in_round"] for name, facts in result.bags.items()}
    assert sum(in_round.values()) == frames["training"] + frames["held_out"] <= 16
    assert min(in_round.values()) >= 5  # of both
    facts = json.loads((tmp_path / "fleet.json").read_text())
    assert facts["bags"]["second"]["frames_in"] == 12 and facts["decision"]["promoted"] == result.decision.promoted
    store = WeightStore(tmp_path / "store")
    assert store.verify() == [] and store.current() == result.version
    assert [path.name for path in (tmp_path / "store" / "fleet").iterdir()] == [".lock"]  # nothing is left over
    if result.decision.promoted:
        assert transfer(store.folder, vehicle.folder)[1]
        assert vehicle.current().path.read_bytes() == store.current().path.read_bytes()
    with pytest.raises(OutputError, match=r"fleet\.json exists"):
        adapt(tmp_path, config, "first")


def test_a_round_that_was_cut_off_goes_on_and_ends_as_it_would_have(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = adapt(tmp_path / "whole", config, "first", "second")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Round, "_train_student", die)
        with pytest.raises(KeyboardInterrupt):
            adapt(tmp_path / "cut", config, "first", "second")
    with monkeypatch.context() as patch:
        for step in ("observe", "admit"):
            patch.setattr(Adapter, step, lambda *_: pytest.fail("frames are chosen again"))
        patch.setattr("sam_adapt_ros.pseudo_labels.PseudoLabelGenerator.densify", lambda *_: pytest.fail("made again"))
        after = adapt(tmp_path / "cut", config, "first", "second")
    assert after.decision is not None and whole.decision is not None
    assert after.decision.as_dict() == whole.decision.as_dict()
    assert after.version.name == whole.version.name
    assert after.bags["first"]["in_round"] == whole.bags["first"]["in_round"]


@pytest.mark.soak
def test_what_was_begun_with_another_configuration_is_given_up(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Adapter, "run_round", lambda *_: None)
        assert adapt(tmp_path, config, "first", "second").decision is None
    begun = {path.name for path in (tmp_path / "store" / "fleet").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(Adapter, "run_round", lambda *_: None)
        adapt(tmp_path, config.updated({"adaptation.self_training.steps": 5}), "first", "second")
    assert len(begun & {path.name for path in (tmp_path / "store" / "fleet").iterdir()}) == 1  # the lock


def test_two_fleets_on_one_store_do_not_mix(tmp_path: Path, config: Config) -> None:
    WeightStore(tmp_path / "store").initialize(source_weights())
    (tmp_path / "store" / "fleet").mkdir()
    with (
        locked(tmp_path / "store" / "fleet" / ".lock", 0),
        pytest.raises(StoreError, match="store: another fleet is adapting this store"),
    ):
        adapt(tmp_path, config, "first")


def test_a_store_of_another_source_model_is_refused(tmp_path: Path, config: Config) -> None:
    other = source_weights()
    other.state["image.heads.classify.bias"][0] += 1  # type: ignore[index]
    WeightStore(tmp_path / "store").initialize(other)
    other.state["image.heads.classify.bias"][0] -= 1  # type: ignore[index]
    with pytest.raises(StoreError, match="the store's source model is"):
        adapt(tmp_path, config, "first")


def test_bags_that_are_damaged_or_of_another_light_are_named(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Adapter, "run_round", lambda *_: None)
    result = adapt(tmp_path, config, "first", "second", "broken", "day")
    said = list(result.notices)
    assert any(text.startswith("broken: it is left out, or the rest of it") and "damaged" in text for text in said)
    assert any(text.startswith("day: images of another light") for text in said)
    assert 0 < result.bags["broken"]["buffer"]["kept"] <= 2
    with pytest.raises(BagError, match="a chunk is damaged"):
        adapt(tmp_path / "alone", config, "broken")


def test_too_few_frames_are_an_error_that_says_what_is_missing(tmp_path: Path, config: Config) -> None:
    with pytest.raises(BagError, match="too few frames for a round of learning; 2 frames kept of 2 seen"):
        adapt(tmp_path, config, "short", "short")
    assert not (tmp_path / "fleet.json").exists()


def test_drives_of_different_vehicles_are_apart_and_share_the_limits(tmp_path: Path, config: Config) -> None:
    """Both have driven along the same metres of their own odometry."""
    buffer = config.adaptation.buffer
    part = share_of_buffer(buffer, 2)
    assert (part.max_frames, part.max_megabytes) == (16, 512.0)
    part = share_of_buffer(buffer, 8)
    assert (part.max_frames, part.max_megabytes, part.held_out) == (4, 128.0, 0.0)
    WeightStore(tmp_path / "store").initialize(source_weights())
    work = tmp_path / "frames"
    for name in ("first", "second"):
        own = config.model_copy(update={"adaptation": config.adaptation.model_copy(update={"buffer": part})})
        work.mkdir(exist_ok=True)
        bag = fleet_adapt.VehicleBag(tmp_path / name, own, tmp_path / "store", "v0000", False)
        fleet_adapt.choose_frames(bag, work / name, lambda *_: None)
    folders = [work / "first", work / "second"]
    joint, kept = join_frames(folders, part, buffer)
    assert kept == [4, 4]
    frames = [*joint.training(), *joint.held_out()]
    places = np.sort([frame.T_odom_lidar[0, 3] for frame in frames if frame.T_odom_lidar is not None])
    assert np.diff(places).max() > 50_000 and np.count_nonzero(places < 1000) == 4
    assert isinstance(joint, FrameBuffer)


def test_the_command_says_what_each_bag_gave_and_what_came_of_it(
    tmp_path: Path, night_bag: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round itself is tested above; here it is one that was made, then one that was interrupted."""
    store = WeightStore(tmp_path / "store")
    version = store.initialize(source_weights())
    bags = {"night": {"frames_in": 3, "buffer": {"kept": 2}, "in_round": 1}}
    notices = Notices(lambda _: None)
    notices.add("other_light", "night: images of another light")
    given: list[object] = []

    def made(*arguments: object, **options: object) -> fleet_adapt.FleetRound:
        given.extend([*arguments, options["force"]])
        decision = None if options["force"] else Decision("student", "it agrees better")
        return fleet_adapt.FleetRound(decision, version, notices, bags)

    monkeypatch.setattr(fleet_adapt, "fleet_adapt", made)
    arguments = ["fleet", "adapt", str(store.folder), str(night_bag.parent), "--summary", str(tmp_path / "fleet.json")]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert given[:2] == [store.folder, [night_bag]] and given[3] == tmp_path / "fleet.json"
    row = next(line for line in result.output.splitlines() if line.startswith("│"))
    assert row.replace("│", " ").split() == ["night", "3", "2", "1"]
    for line in (
        *("warning: night: images of another light\n", "round: student promoted (it agrees better)\n"),
        *(f"in use: {version.name}\n", f"written: {tmp_path / 'fleet.json'}\n"),
    ):
        assert line in result.output
    result = CliRunner().invoke(cli.app, [*arguments, "--force"])
    assert result.exit_code == 1 and "interrupted: the same command goes on" in result.output
