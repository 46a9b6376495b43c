"""What a report on adaptation says first."""

from typing import Any

from sam_adapt_ros.visualization.adaptation_report import conclusion


def decision(promoted: str, *candidates: tuple[str, float, str]) -> dict[str, Any]:
    judged = [{"name": name, "score": score, "refusals": [why] if why else []} for name, score, why in candidates]
    return {"promoted": promoted, "reason": "all of it", "candidates": judged}


def test_why_nothing_was_promoted_is_said_of_the_best_candidate_of_the_last_round() -> None:
    last = decision("", ("start", 0.90, "worse than in use"), ("student", 0.95, "class pole lost 0.2"))
    said = conclusion({"decisions": [decision("", ("student", 0.99, "other")), last]})
    assert said == (
        "Nothing was promoted in 2 rounds, the source model stayed in use: of the last round's 2 candidates the best, "
        "student, was refused since class pole lost 0.2."
    )
    assert conclusion({"decisions": [decision("")]}).endswith("stayed in use: all of it.")


def test_what_was_gained_is_said() -> None:
    facts = {"decisions": [decision("student"), decision("")], "miou_source": 0.5, "miou_online": 0.55, "rollbacks": 0}
    assert conclusion(facts) == (
        "1 of 2 rounds put new weights to use (student); mean IoU where a camera sees: 0.500 by the source model, "
        "0.550 adapted, over the whole drive."
    )
    unseen = {**facts, "miou_source_unseen": 0.6, "miou_final": 0.7, "rollbacks": 1}
    assert "(student), 1 of them was rolled back; mean" in conclusion(unseen)
    assert conclusion(unseen).endswith("0.600 by the source model, 0.700 adapted, on the unseen drive.")
    assert conclusion({"decisions": [decision("student")]}) == "1 of 1 round put new weights to use (student)."


def test_a_run_without_a_round_learned_nothing() -> None:
    assert conclusion({}) == "Nothing was learned, the source model labelled every frame: no round ended."
    assert conclusion({"no_round": "3 frames are lacking"}).endswith("every frame: 3 frames are lacking.")
