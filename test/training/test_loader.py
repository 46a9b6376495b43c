import os
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from loader_work import die, fail, leave_a_trace, process, square

from sam_adapt_ros.errors import BagError
from sam_adapt_ros.training.loader import AHEAD, map_ahead


@pytest.mark.parametrize("processes", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_order(processes: bool, workers: int) -> None:
    assert list(map_ahead(square, range(3, 15), workers, processes=processes)) == [i * i for i in range(3, 15)]
    assert list(map_ahead(square, range(0), workers, processes=processes)) == []


def test_the_work_is_done_by_several_processes() -> None:
    pids = set(map_ahead(process, range(8), 2))
    assert len(pids) == 2 and os.getpid() not in pids


def test_an_error_in_a_process_is_one_line() -> None:
    results = map_ahead(fail, range(5), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(BagError, match=r"^/data/000002\.png: cut short$"):
        next(results)


@pytest.mark.soak
def test_a_killed_process_is_said() -> None:
    """PyTorch looks after its processes every five seconds."""
    with pytest.raises(BagError, match=r"^a loader process ended .*Lower training\.workers$"):
        list(map_ahead(die, range(5), 1))


def test_what_is_ready_is_bounded(tmp_path: Path) -> None:
    results = map_ahead(partial(leave_a_trace, tmp_path), range(100), 2)
    next(results)
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) <= 1 + 2 * AHEAD + 2
    results.close()  # type: ignore[attr-defined]


def test_threads_end_with_the_iteration() -> None:
    results = map_ahead(square, range(100), 2, processes=False)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]
