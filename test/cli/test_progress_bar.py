"""Progress where there is no terminal: a first line, lines meanwhile, and a last one, whatever happens."""

import io
import time

import pytest
from rich.console import Console

from sam_adapt_ros.cli.progress_bar import ProgressLines


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=40)


def printed(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_lines_tell_what_is_done_and_how_long_it_takes(console: Console) -> None:
    clock = Clock()
    with ProgressLines("training the oracle", console, every_s=1e6, clock=clock) as lines:
        clock.now = 5
        lines.print_state()
        clock.now = 10
        lines.update(100, 200)  # resumed: what was done before says nothing of the speed
        lines.print_state()
        clock.now = 30
        lines.update(110, 200)
        lines.print_state()
        lines.update(200, 200)
        clock.now = 3700
    assert printed(console) == [
        "training the oracle: started",
        "training the oracle: 0:00:05 elapsed",
        "training the oracle: 100/200 (50 %), 0:00:10 elapsed",
        "training the oracle: 110/200 (55 %), 0:00:30 elapsed, 0:03:00 remaining",
        "training the oracle: 200/200 (100 %), done after 1:01:40",
    ]


def test_a_count_that_starts_again_is_timed_again(console: Console) -> None:
    clock = Clock()
    with ProgressLines("rendering", console, every_s=1e6, clock=clock) as lines:
        for clock.now, done in enumerate((90, 100, 0, 10)):
            lines.update(done, 100)
        lines.print_state()
    assert printed(console)[1] == "rendering: 10/100 (10 %), 0:00:03 elapsed, 0:00:09 remaining"


def test_work_that_reports_nothing_is_not_silent(console: Console) -> None:
    with ProgressLines("loading", console, every_s=0.001):
        while len(printed(console)) < 4:
            time.sleep(0.001)
    lines = printed(console)
    assert lines[0] == "loading: started"
    assert set(lines[1:-1]) == {"loading: 0:00:00 elapsed"}
    assert lines[-1] == "loading: done after 0:00:00"


def test_work_that_fails_leaves_a_last_line(console: Console) -> None:
    with pytest.raises(ValueError, match="broken"), ProgressLines("drawing [x]", console) as lines:
        lines.update(1, 3)
        raise ValueError("broken")
    assert printed(console) == ["drawing [x]: started", "drawing [x]: 1/3 (33 %), stopped after 0:00:00"]
