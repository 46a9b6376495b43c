"""Several bags, or a folder of clips, as one stream: `replay BAG...`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sam_adapt_ros import cli
from sam_adapt_ros.bags import BagReader, BagWriter, Counts, MessageReader
from sam_adapt_ros.bags.clips import find_bags
from sam_adapt_ros.cancellation import CancellationToken
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import BagError
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.messages import read_labels, stamp_ns
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.pipelines import bag_frames
from sam_adapt_ros.pipelines.bag_stream import BagStream, LabelBags, unique_names
from sam_adapt_ros.taxonomy import Taxonomy

TOWN = Taxonomy.load("town")
FRAMES = 3


class FakeReader:
    """Four sweeps a bag, with stamps and poses that begin anew; ``cut`` ends with an error after two."""

    def __init__(self, path: Path, config: Config, **_: object) -> None:
        if path.name == "absent":
            raise BagError(f"{path}: no such bag")
        self.path, self.sweeps, self.counts, self.notices = path, 4, Counts(), Notices(str)

    def __enter__(self) -> FakeReader:
        return self

    def __exit__(self, *_: object) -> None: ...

    def frames(self) -> Iterator[Frame]:
        self.counts.dropped["cloud_empty"] += 1
        self.notices.add("camera", f"{self.path}: camera front: {len(self.path.name)} images late")
        for place in range(3):
            if self.path.name == "cut" and place == 2:
                raise BagError("a chunk is damaged")
            pose = np.eye(4)
            pose[0, 3] = place
            yield Frame(place, "lidar", np.zeros((0, 3), np.float32), T_odom_lidar=pose)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bag_frames, "BagReader", FakeReader)


@pytest.mark.usefixtures("fake")
def test_bags_follow_one_another_and_are_counted_one_by_one_and_together() -> None:
    stream = BagStream([Path("a"), Path("x/cut"), Path("absent"), Path("y/a")], Config(), TOWN)
    reports: list[tuple[int, int]] = []
    for _ in range(2):  # of the latest pass
        found = list(stream.frames(lambda done, total: reports.append((done, total))))
    assert [each.bag for each in found] == ["a"] * 3 + ["cut"] * 2 + ["a-2"] * 3
    assert [each.frame.stamp_ns for each in found] == [0, 1, 2, 0, 1, 0, 1, 2]
    first = [each.frame.T_odom_lidar[0, 3] for each in found if each.frame.T_odom_lidar is not None]
    assert first == [0, 1, 2, 100_000, 100_001, 300_000, 300_001, 300_002]
    assert reports[-1] == (11, 12)
    assert [place for place, each in enumerate(found) if each.pictured] == [0, 3]  # of the whole stream, not of a bag
    summary = stream.summary()
    assert summary.frames_in == 12 and summary.dropped == {"cloud_empty": 3}
    said = list(summary.notices)
    assert "a: a: camera front: 1 images late (and likewise 2 more of the 3 bags)" in said
    assert summary.facts["bags"][1]["notices"]["camera"] == "x/cut: camera front: 3 images late"
    assert any("a chunk is damaged" in text for text in said) and any("absent: no such bag" in text for text in said)
    assert len(said) == 3
    bags = summary.facts["bags"]
    assert [each["name"] for each in bags] == ["a", "cut", "absent", "a-2"]
    assert [each["frames_in"] for each in bags] == [4, 4, 0, 4]
    assert stream.title == "4 bags, a to a-2"


@pytest.mark.usefixtures("fake")
def test_a_single_bag_that_is_damaged_is_an_error() -> None:
    with pytest.raises(BagError, match="a chunk is damaged"):
        list(BagStream(Path("cut"), Config(), TOWN).frames())
    with pytest.raises(BagError, match="absent: no such bag"):
        BagStream([Path("absent"), Path("x/absent")], Config(), TOWN)


@pytest.mark.usefixtures("fake")
def test_an_interruption_ends_the_stream_not_the_bag() -> None:
    stream, token = BagStream([Path("a"), Path("b")], Config(), TOWN), CancellationToken()
    seen = 0
    for _ in stream.frames(token=token):
        seen += 1
        token.cancel()
    assert seen == 1
    assert stream.summary().frames_in == 2  # the sweep that was dropped before it, too


def test_names_are_unique() -> None:
    assert unique_names([Path("a/bag"), Path("b/bag"), Path("c"), Path("d/bag")]) == ["bag", "bag-2", "c", "bag-3"]
    assert unique_names([Path("bag-2"), Path("bag"), Path("x/bag")]) == ["bag-2", "bag", "bag-3"]


def test_what_stands_in_the_way_of_the_labels_is_kept(tmp_path: Path) -> None:
    labels, names = tmp_path / "labels", ["a", "b"]

    def write(force: bool) -> None:
        with LabelBags(labels, names, force=force) as written:
            for name in names:
                written.writer(name)

    write(force=False)
    assert [each.name for each in find_bags([labels])] == names
    with pytest.raises(BagError, match="give --force"):
        LabelBags(labels, names, force=False)
    names = ["c", "d"]
    write(force=True)
    assert [each.name for each in find_bags([labels])] == names
    with pytest.raises(KeyError), LabelBags(labels, names, force=True):
        raise KeyError
    assert [each.name for each in find_bags([labels])] == names
    (labels / "mine").mkdir()
    with pytest.raises(BagError, match=r"choose another output$"):
        LabelBags(labels, names, force=True)
    assert {each.name for each in tmp_path.iterdir()} == {"labels"}
    shutil.rmtree(labels)
    with BagWriter(labels):
        pass
    write(force=True)
    assert [each.name for each in find_bags([labels])] == names


@pytest.fixture(scope="module")
def clips(night_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twice the same clip, and one whose recording was cut off."""
    folder = tmp_path_factory.mktemp("stream") / "clips"
    for name in ("clip-2", "clip-10"):
        shutil.copytree(night_bag, folder / name)
    (folder / "clip-11").mkdir()
    (folder / "clip-11" / "clip-11.mcap").write_bytes(b"\x89MCAP0\r\n cut")
    return folder


@pytest.mark.parametrize("adapt", [[], ["--adapt"]], ids=["plain", "adapting"])
def test_a_folder_of_clips_is_replayed_as_one_stream(clips: Path, tmp_path: Path, adapt: list[str]) -> None:
    options = ["-o", str(tmp_path), "-s", "segmenter.threads=1"]
    result = CliRunner().invoke(cli.app, ["replay", str(clips), *adapt, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["frames_in"] == summary["frames_labelled"] == 2 * FRAMES
    assert [bag["name"] for bag in summary["bags"]] == ["clip-2", "clip-10", "clip-11"]
    assert [bag["frames_labelled"] for bag in summary["bags"]] == [FRAMES, FRAMES, 0]
    assert summary["bags"][0]["miou"] == summary["bags"][1]["miou"]  # no round ended in between
    assert any("clip-11: metadata.yaml is missing" in text for text in summary["notices"].values())
    assert "clip-11: metadata.yaml is missing" in result.output
    if adapt:
        assert summary["bags"][0]["miou_source"] == summary["bags"][0]["miou_online"] > 0
        assert summary["adaptation"]["buffer"]["kept"] > FRAMES  # another place, though it looks the same
    assert "Bag by bag" in (tmp_path / "report.html").read_text()
    labels = find_bags([tmp_path / "labels"])
    assert [each.name for each in labels] == ["clip-2", "clip-10"]
    with BagReader(clips / "clip-2", Config.load("town")) as reader:
        frames = list(reader.frames())
    for bag in labels:
        with MessageReader(bag) as source:
            decoded = [message.decode() for message in source.messages()]
        assert [stamp_ns(message.header) for message in decoded] == [frame.stamp_ns for frame in frames]
        for frame, message in zip(frames, decoded, strict=True):
            np.testing.assert_array_equal(read_labels(message)[0], frame.points)
