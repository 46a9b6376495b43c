"""Stages: done once, gone on with, refused with other settings, checked, skipped, locked."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from sam_adapt_ros.errors import OutputError
from sam_adapt_ros.io.lock import locked
from sam_adapt_ros.io.outputs import write_text
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.pipelines.benchmark import stages as benchmark_stages
from sam_adapt_ros.pipelines.benchmark.stages import LOCK, MANIFEST, Stage, run_stages


class Maker:
    """Three parts, counted; stops before the part of that number when told to."""

    def __init__(self):
        self.made, self.stop_at = [], None

    def __call__(self, folder, inputs, progress):
        for part in range(3):
            path = folder / f"part_{part}"
            if part == self.stop_at:
                raise KeyboardInterrupt
            if not path.exists():
                self.made.append(part)
                write_text(path, f"{part} of {sorted(inputs)}")
        write_text(folder / "scratch", "x")
        (folder / f"log.{len(self.made)}").write_text(f"{time.time()}")
        return {"parts": 3, "of": [found.facts["parts"] for found in inputs.values()]}


@pytest.fixture
def stages():
    first = Stage(
        "first",
        "making the first",
        Maker(),
        {"training": {"iterations": 30, "seed": 0}},
        scratch=("scratch",),
        logs=("log.*",),
    )
    second = Stage("second", "making the second", Maker(), {}, ("first",), scratch=("scratch",), logs=("log.*",))
    return [
        first,
        second,
        Stage("third", "making the third", Maker(), {"a": 1}, ("second",), scratch=("scratch",), logs=("log.*",)),
    ]


def made(stages):
    return [stage.make.made for stage in stages]


def test_what_is_done_is_done_once(stages, tmp_path):
    done = run_stages(stages, tmp_path)
    assert made(stages) == [[0, 1, 2]] * 3
    again = run_stages(stages, tmp_path)
    assert made(stages) == [[0, 1, 2]] * 3
    assert again == done
    assert again["second"].facts == {"parts": 3, "of": [3]}
    assert sorted(again["second"].files) == ["part_0", "part_1", "part_2"]
    assert not (tmp_path / "second" / "scratch").exists()


def test_a_stage_that_is_killed_as_it_ends_still_has_what_it_goes_on_with(stages, tmp_path, monkeypatch):
    """The last write of a stage is its manifest's."""
    write, manifests = benchmark_stages.write_text, []

    def die_at_the_end(path, text):
        manifests.append(path)
        if len(manifests) == 2:
            raise KeyboardInterrupt
        write(path, text)

    monkeypatch.setattr(benchmark_stages, "write_text", die_at_the_end)
    with pytest.raises(KeyboardInterrupt):
        run_stages(stages[:1], tmp_path)
    monkeypatch.undo()
    assert (tmp_path / "first" / "scratch").exists()
    done = run_stages(stages[:1], tmp_path)
    assert made(stages)[0] == [0, 1, 2]
    assert "scratch" not in done["first"].files
    assert not (tmp_path / "first" / "scratch").exists()
    (tmp_path / "first" / "scratch").touch()  # killed between the manifest and the removal
    assert run_stages(stages[:1], tmp_path) == done
    assert not (tmp_path / "first" / "scratch").exists()


def test_half_written_files_of_killed_runs_are_removed(stages, tmp_path):
    left = [tmp_path / ".results.json.7-1.tmp", tmp_path / "first" / "parts" / ".part_0.7-1.tmp"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    run_stages([replace(stages[0], make=lambda *_: {})], tmp_path, skip=["first"])
    assert not any(path.exists() for path in left)


def test_an_interrupted_stage_goes_on_with_what_it_has(stages, tmp_path):
    stages[1].make.stop_at = 2
    with pytest.raises(KeyboardInterrupt):
        run_stages(stages, tmp_path)
    assert made(stages) == [[0, 1, 2], [0, 1], []]
    stages[1].make.stop_at = None
    done = run_stages(stages, tmp_path)
    assert made(stages) == [[0, 1, 2], [0, 1, 2], [0, 1, 2]]
    unbroken = run_stages(stages, tmp_path.parent / "unbroken")
    assert [done[name].digest for name in done] == [unbroken[name].digest for name in done]


@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_are_refused_by_name_and_made_again_when_forced(stages, tmp_path, finished):
    stages[0].make.stop_at = None if finished else 1
    try:
        run_stages(stages, tmp_path)
    except KeyboardInterrupt:
        stages[0].make.stop_at = None
    stages[0] = replace(stages[0], settings={"training": {"iterations": 60, "seed": 0}})
    with pytest.raises(OutputError, match=r"first: .*\(training\.iterations: 30 then, 60 now\).*--force"):
        run_stages(stages, tmp_path)
    stages[0].make.made.clear()
    run_stages(stages, tmp_path, force=True)
    assert made(stages)[0] == [0, 1, 2]
    assert (
        json.loads((tmp_path / "first" / MANIFEST).read_text())["depends"]["settings"]["training"]["iterations"] == 60
    )


def test_only_what_depends_on_the_change_is_made_again(stages, tmp_path):
    run_stages(stages, tmp_path)
    stages[2] = replace(stages[2], settings={"a": 2})
    run_stages(stages, tmp_path, force=True)
    assert [len(each) for each in made(stages)] == [3, 3, 6]


def test_stages_of_another_input_are_refused(stages, tmp_path):
    run_stages(stages, tmp_path)
    write = stages[0].make
    stages[0] = replace(stages[0], make=lambda *a: {**write(*a), "parts": 4}, settings={})
    with pytest.raises(OutputError, match="first"):
        run_stages(stages, tmp_path)
    (tmp_path / "first" / MANIFEST).unlink()
    with pytest.raises(OutputError, match=r"second: .*\(of another first\)"):
        run_stages(stages, tmp_path)


@pytest.mark.parametrize("damage", ["changed", "emptied", "gone"])
def test_a_damaged_file_is_said_and_made_again(stages, tmp_path, damage):
    done = run_stages(stages, tmp_path)
    path = tmp_path / "second" / "part_1"
    if damage == "gone":
        path.unlink()
    else:
        path.write_text("other" if damage == "changed" else "")
    notices = Notices()
    again = run_stages(stages, tmp_path, notices=notices)
    assert "part_1" in " ".join(notices)
    assert "second is done again" in " ".join(notices)
    assert [len(each) for each in made(stages)] == [3, 6, 3]  # the third one's input is what it was
    assert {name: found.digest for name, found in again.items()} == {name: found.digest for name, found in done.items()}


def test_skipped_stages_and_what_needs_them_are_said(stages, tmp_path):
    notices = Notices()
    assert list(run_stages(stages, tmp_path, skip=["second"], notices=notices)) == ["first"]
    assert list(notices) == ["second is skipped, as asked for", "third is skipped: it needs second"]
    run_stages(stages, tmp_path)
    assert list(run_stages(stages, tmp_path, skip=["second"])) == [
        "first",
        "second",
        "third",
    ]  # an earlier run's serves
    stages[1] = replace(stages[1], settings={"other": 1})
    assert list(run_stages(stages, tmp_path, skip=["second"])) == ["first"]


def test_two_runs_in_one_folder_are_refused(stages, tmp_path):
    with locked(tmp_path / LOCK, 0), pytest.raises(OutputError, match=r"another process is at work here"):
        run_stages(stages, tmp_path)
    assert made(stages) == [[], [], []]
    holder = (
        "import sys, time; from pathlib import Path; from sam_adapt_ros.io.lock import locked\n"
        "with locked(Path(sys.argv[1]), 0): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", holder, str(tmp_path / LOCK)], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(OutputError, match="another process"):
        run_stages(stages, tmp_path)
    other.kill()
    other.wait()
    assert len(run_stages(stages, tmp_path)) == 3  # a kill releases the lock
