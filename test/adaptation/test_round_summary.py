import pytest

from sam_adapt_ros.adaptation.round_summary import account

NEEDED = {"training": 20, "held_out": 4}


def test_every_frame_is_accounted_for() -> None:
    fates = {"kept": 6, "standing": 5, "redundant": 1, "dark_image": 2, "not_open": 3, "bad_cloud": 1, "overload": 0}
    lines = account(20, fates, {"training": 5, "held_out": 1}, NEEDED)
    assert lines == [
        "6 frames kept of 20 seen, 20 needed for training (there are 5) and 4 held out for evaluation (there are 1)",
        "passed over: 5 standing (less than buffer.min_distance driven, and nothing new to be seen), "
        "1 redundant (like those kept)",
        "refused: 2 dark_image (an image without contrast)",
        "not looked at: 3 not_open (came before the store was open), 1 bad_cloud, 2 under way",
    ]


@pytest.mark.parametrize(
    ("kept", "there", "expected"),
    [
        (0, {"training": 0, "held_out": 0}, "0 frames kept of 1 seen, 20 needed for training (there are 0)"),
        (1, {"training": 1, "held_out": 0}, "1 frame kept of 1 seen, 20 needed for training (there are 1)"),
        (
            1,
            {"training": 0, "held_out": 1},
            "1 frame kept of 1 seen, 20 needed for training (there are 0, and 1 held out)",
        ),
    ],
)
def test_to_observe_no_frame_need_be_held_out(kept: int, there: dict[str, int], expected: str) -> None:
    assert account(1, {"kept": kept}, there, {"training": 20})[0] == expected
