"""Notices are logged once, updated, withdrawn and handed over."""

from sam_adapt_ros.notices import Notices, describe_counts


def test_a_condition_is_logged_once_and_its_latest_sentence_is_kept() -> None:
    logged: list[str] = []
    notices = Notices(logged.append)
    notices.add("camera_clock:front", "camera front: 37 s off")
    notices.add("camera_clock:front", "camera front: 38 s off")
    notices.add("odometry", "odometry does not help")
    assert logged == ["camera front: 37 s off", "odometry does not help"]
    assert list(notices) == ["camera front: 38 s off", "odometry does not help"]
    assert notices.as_dict()["camera_clock:front"] == "camera front: 38 s off"


def test_a_withdrawn_condition_is_not_logged_again() -> None:
    logged: list[str] = []
    notices = Notices(logged.append)
    notices.add("a", "first")
    notices.withdraw("a")
    notices.withdraw("never said")
    assert len(notices) == 0
    notices.add("a", "again")
    assert (logged, list(notices)) == (["first"], ["again"])


def test_what_another_run_logged_is_taken_over_without_logging() -> None:
    logged: list[str] = []
    mine, other = Notices(logged.append), Notices(lambda text: None)
    other.add("a", "said")
    mine.update(other)
    mine.add("a", "said, three times")
    assert (logged, list(mine)) == ([], ["said, three times"])


def test_counts_are_described() -> None:
    assert describe_counts({"overload": 4, "cloud_fields": 1}) == "overload 4, cloud_fields 1"
    assert describe_counts({}) == ""
