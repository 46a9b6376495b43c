from sam_adapt_ros.progress import no_progress, no_stages, part_of, track


def test_parts_make_a_whole() -> None:
    reports: list[tuple[int, int]] = []
    for part in range(2):
        for done in range(1, 4):
            part_of(lambda *report: reports.append(report), part, 2)(done, 3)
    assert reports == [(1, 6), (2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]


def test_an_item_is_done_when_the_next_is_asked_for() -> None:
    reports: list[tuple[int, int]] = []
    taken = [(item, len(reports)) for item in track("ab", lambda *report: reports.append(report), 2)]
    assert taken == [("a", 1), ("b", 2)]
    assert reports == [(0, 2), (1, 2), (2, 2)]


def test_nothing_is_shown() -> None:
    with no_stages("loading") as progress:
        assert progress is no_progress
        progress(1, 2)
