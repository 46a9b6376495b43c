from pathlib import Path

from sam_adapt_ros.adaptation.decision_log import DecisionLog
from sam_adapt_ros.adaptation.promotion.gate import Decision


def test_decisions_are_read_back_in_order(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path)
    assert list(log) == [] and log.last_round() == (0, 0)
    log.append(1, 12, Decision("student", "better"))
    log.append(2, 30, Decision("", "nothing passes"))
    assert [each["promoted"] for each in DecisionLog(tmp_path)] == ["student", ""]
    assert DecisionLog(tmp_path).last_round() == (2, 30)


def test_a_line_that_a_kill_has_cut_short_is_left_out(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path)
    log.append(1, 12, Decision("student", "better"))
    with (tmp_path / "decisions.jsonl").open("ab") as file:
        file.write(b'{"round": 2, "kept_bef\xff')
    assert log.last_round() == (1, 12)
    assert len(list(log)) == 1


def test_without_a_folder_nothing_is_kept() -> None:
    log = DecisionLog(None)
    log.append(1, 12, Decision("student", "better"))
    assert list(log) == []


def test_a_line_that_was_cut_short_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path)
    log.append(1, 12, Decision("student", "better"))
    with (tmp_path / "decisions.jsonl").open("ab") as file:
        file.write(b'{"round": 2, "kept_bef')
    log.append(3, 40, Decision("", "nothing passes"))
    assert [each["round"] for each in log] == [1, 3]
    assert log.last_round() == (3, 40)


def test_a_round_without_a_decision_counts_frames_anew(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path)
    log.append(1, 12, Decision("student", "better"))
    log.append(1, 30, None)
    assert len(list(log)) == 1
    assert log.last_round() == (1, 30)
