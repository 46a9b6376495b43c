import errno
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import parallel_support as work
import pytest

from sam_adapt_ros.errors import BagError, OutputError, ParallelError, StoreError
from sam_adapt_ros.io.lock import locked
from sam_adapt_ros.parallel import Engine, Shard, choose_engine, map_shards
from sam_adapt_ros.parallel import shard as shard_module

NUMBERS = [Shard(f"part-{number}", number) for number in range(4)]


@pytest.fixture(params=[1, 2], ids=["this process", "two processes"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return choose_engine(request.param)


def test_every_part_is_done_and_the_outputs_come_in_order(tmp_path: Path, engine: Engine) -> None:
    reports: list[tuple[int, int]] = []
    outputs = map_shards(work.square, NUMBERS, tmp_path / "out", engine, lambda *each: reports.append(each))
    assert [work.value(output) for output in outputs] == [0, 1, 4, 9]
    assert (reports[0], reports[-1]) == ((0, 4), (4, 4))
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    shards = [Shard(str(number), 0.2) for number in range(4)]
    outputs = map_shards(work.note_process, shards, tmp_path, choose_engine(2))
    processes = {output.read_text() for output in outputs}
    assert len(processes) == 2
    assert str(os.getpid()) not in processes


def test_what_is_done_is_not_done_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    map_shards(work.square, NUMBERS[:3], tmp_path)
    before = (tmp_path / "part-2").read_bytes()
    with caplog.at_level(logging.INFO, "sam_adapt_ros"):
        map_shards(partial(work.write, b"other"), NUMBERS, tmp_path)
    assert (tmp_path / "part-2").read_bytes() == before
    assert (tmp_path / "part-3").read_bytes() == b"other"
    assert "3 of 4 parts are done already" in caplog.text


def test_a_part_whose_worker_is_killed_is_done_by_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out"
    shards = [Shard("a", tmp_path / "a-died"), Shard("b", tmp_path / "b-died"), Shard("c", tmp_path / "c-died")]
    (tmp_path / "c-died").touch()
    map_shards(work.die_once, shards, out, choose_engine(2))
    assert [(out / name).read_text() for name in "abc"] == ["0", "0", "0"]
    assert "a: its worker died (signal SIGKILL)" in caplog.text


def test_a_part_that_kills_every_worker_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    with pytest.raises(ParallelError, match=r"^part-1: its worker died 3 times \(signal SIGKILL\)"):
        map_shards(work.die, NUMBERS, tmp_path, choose_engine(2))
    assert [work.value(tmp_path / f"part-{number}") for number in (0, 2, 3)] == [0, 4, 9]


def test_a_part_that_fails_alone_fails_as_it_would_here_and_the_others_are_done(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(BagError, match=r"^bag 1: odd$"):
        map_shards(work.refuse_odd, NUMBERS[:3], tmp_path, engine)
    assert work.value(tmp_path / "part-2") == 4


def test_several_parts_that_fail_are_named_in_one_line(tmp_path: Path, engine: Engine) -> None:
    shards = [Shard(f"part-{number}", number) for number in (1, 3, 5, 7, 8)]
    with pytest.raises(
        ParallelError, match=r"^4 of 5 parts failed: bag \d: odd; bag \d: odd; bag \d: odd; and 1 more\. The others"
    ):
        map_shards(work.refuse_odd, shards, tmp_path, engine)
    assert work.value(tmp_path / "part-8") == 64


def test_an_error_of_ours_shows_where(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(RuntimeError, match=r"part-0: Traceback[\s\S]*in fail[\s\S]*ZeroDivisionError: 0 by nothing"):
        map_shards(work.fail, NUMBERS[:1], tmp_path, engine)


def test_a_reason_survives_the_way_from_another_process(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no space") as caught:
        map_shards(work.refuse_in_store, NUMBERS, tmp_path, choose_engine(2))
    assert caught.value.reason == "disk_full"


def test_a_full_disk_ends_the_work_and_costs_nothing_that_was_done(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        map_shards(work.fill_disk, [*NUMBERS[:2], *(Shard(f"more-{n}", 1) for n in range(50))], tmp_path, engine)
    assert caught.value.errno == errno.ENOSPC
    assert work.value(tmp_path / "part-0") == 0
    map_shards(work.square, NUMBERS, tmp_path, engine)  # with space again


def test_a_disk_that_cannot_be_read_for_a_moment_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_module, "RETRY_AFTER_S", 0)
    map_shards(work.stale_once, [Shard("part", tmp_path / "tried")], tmp_path / "out")
    assert (tmp_path / "out" / "part").exists()


def test_one_run_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    with locked(tmp_path / ".lock", 0), pytest.raises(OutputError, match="another process is at work here"):
        map_shards(work.square, NUMBERS, tmp_path)
    with pytest.raises(StoreError, match="a store of its own"):  # which is no lock of this folder's
        map_shards(work.find_locked, NUMBERS[:1], tmp_path)


def test_results_of_other_settings_are_not_taken(tmp_path: Path) -> None:
    map_shards(work.square, NUMBERS, tmp_path, settings={"weights": "a"})
    map_shards(work.square, NUMBERS, tmp_path, settings={"weights": "a"})
    with pytest.raises(OutputError, match="results of other settings"):
        map_shards(work.square, NUMBERS, tmp_path, settings={"weights": "b"})
    map_shards(partial(work.write, b"new"), NUMBERS, tmp_path, settings={"weights": "b"}, force=True)
    assert (tmp_path / "part-0").read_bytes() == b"new"


def test_a_run_that_left_nothing_may_be_repeated_with_other_settings(tmp_path: Path) -> None:
    with pytest.raises(ParallelError, match="not there"):
        map_shards(work.leave_nothing, NUMBERS[:1], tmp_path, settings={"topic": "wrong"})
    map_shards(work.square, NUMBERS, tmp_path, settings={"topic": "right"})
    with pytest.raises(OutputError, match="results of other settings"):
        map_shards(work.square, NUMBERS, tmp_path, settings={"topic": "wrong"})


def test_a_part_of_another_input_is_not_taken_and_others_are_added(tmp_path: Path) -> None:
    map_shards(work.square, [Shard("a", 1, key="monday")], tmp_path)
    map_shards(work.square, [Shard("a", 1, key="monday"), Shard("b", 2, key="tuesday")], tmp_path)
    with pytest.raises(OutputError, match=r"/b: was made of another input of this name"):
        map_shards(work.square, [Shard("b", 3, key="friday")], tmp_path)
    map_shards(work.square, [Shard("b", 3, key="friday")], tmp_path, force=True)
    assert work.value(tmp_path / "b") == 9


def test_what_was_not_made_here_is_neither_taken_nor_replaced(tmp_path: Path) -> None:
    (tmp_path / "part-2").write_text("precious")
    with pytest.raises(OutputError, match=r"part-2: .* has it, not made here"):
        map_shards(work.square, NUMBERS, tmp_path, settings={})
    assert (tmp_path / "part-2").read_text() == "precious"
    map_shards(work.square, NUMBERS, tmp_path, settings={}, force=True)
    assert work.value(tmp_path / "part-2") == 4


def test_an_output_that_does_not_appear_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(ParallelError, match=r"part-0: done by a worker, but not there.*all machines share"):
        map_shards(work.leave_nothing, NUMBERS[:1], tmp_path)


def test_what_a_killed_run_left_half_done_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".part-0.123-0.tmp").touch()
    (tmp_path / ".part-1.partial-abc").mkdir()
    (tmp_path / ".part-10.kept").touch()
    map_shards(work.square, NUMBERS, tmp_path)
    assert sorted(path.name for path in tmp_path.glob(".p*")) == [".part-10.kept"]


def test_what_workers_log_is_logged_here(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    map_shards(work.warn, [Shard("part", "brakes")], tmp_path, choose_engine(2))
    assert ("sam_adapt_ros.test", logging.WARNING, "mind the brakes") in caplog.record_tuples


def test_workers_end_with_a_driver_that_is_killed_and_what_they_did_stays(tmp_path: Path) -> None:
    code = (
        "import parallel_support as work; from pathlib import Path; from sam_adapt_ros.parallel import *\n"
        f"if __name__ == '__main__': map_shards(work.wait, [Shard('a', 0.0), Shard('b', 60.0), Shard('c', 60.0)], "
        f"Path({str(tmp_path / 'out')!r}), choose_engine(2))"
    )
    script = tmp_path / "driver.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    driver = subprocess.Popen([sys.executable, script], env=environment)
    _wait_for(lambda: (tmp_path / "out" / "a").exists())
    workers = _children(driver.pid)
    assert workers
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    _wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    map_shards(work.square, [Shard(name, 3) for name in "abc"], tmp_path / "out")
    assert [(tmp_path / "out" / name).read_text().split()[0] for name in "abc"] == ["0", "9", "9"]


def test_leaving_early_ends_the_workers(tmp_path: Path) -> None:
    outcomes = choose_engine(2).run(work.wait, [Shard("a", 0.0), Shard("b", 60.0)], tmp_path, lambda *_: None)
    assert next(outcomes) == (0, None)
    workers = _children(os.getpid())
    start = time.monotonic()
    outcomes.close()
    assert time.monotonic() - start < 30
    assert not set(workers) & set(_children(os.getpid()))


def _children(pid: int) -> list[int]:
    """The workers of a process; not the resource tracker, which ends later."""
    import psutil

    children = psutil.Process(pid).children()
    return [each.pid for each in children if "spawn_main" in " ".join(each.cmdline())]


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
