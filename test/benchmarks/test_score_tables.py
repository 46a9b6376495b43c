"""The tables of the town's benchmarks, of made-up scores."""

import json

import numpy as np
import pytest

from sam_adapt_ros.benchmarks.score_tables import ALL, ScoreTable
from sam_adapt_ros.benchmarks.unseen_drives import KEYS, Score
from sam_adapt_ros.io.json_values import json_values

HARD = {"night": 0.3, "new_city": 0.1}  # what the shift costs
SEEDS, UNSEEN = (110, 111, 112), (0, 1, 2)


def scores(share: dict[str, float], bad_seed: float = 0.0) -> list[Score]:
    """share: of the loss that each model recovers, by name. bad_seed: what every model but the source loses on 111."""
    rng = np.random.default_rng(0)
    found = []
    for shift, loss in HARD.items():
        for seed in SEEDS:
            for number in UNSEEN:
                level = rng.uniform(0.6, 0.9)  # some drives are harder than others, for every model
                for model, recovered in share.items():
                    worse = bad_seed if (seed, model != "source") == (111, True) else 0.0
                    miou = level - loss * (1 - recovered) - worse + rng.normal(0, 0.002)
                    found.append(Score(shift, seed, 100 * seed + number, model, dict.fromkeys(KEYS, miou)))
    return found


MODELS = {"source": 0.0, "normalization only": 0.3, "adapted": 0.6, "oracle": 1.0}


def table(**changes: float) -> ScoreTable:
    return ScoreTable(scores(MODELS, **changes), "source", "normalization only", "adapted", "oracle")


def test_rows_are_means_over_drives_with_paired_differences() -> None:
    found = table()
    night = found.row("night", "adapted")
    mine = [score.miou["fused_seen"] for score in found.scores if (score.shift, score.model) == ("night", "adapted")]
    assert len(mine) == 9
    assert night.miou["fused_seen"].value == pytest.approx(np.mean(mine))
    assert night.over_source["2d"].value == pytest.approx(0.18, abs=0.003)
    assert night.over_source["2d"].half_width < 0.003 < night.miou["2d"].half_width  # the drives' difficulty cancels
    assert night.recovered["fused_seen"].value == pytest.approx(0.6, abs=0.01)
    assert night.over_normalization.value == pytest.approx(0.09, abs=0.003)
    both = found.row(ALL, "adapted")
    assert both.over_source["fused_seen"].value == pytest.approx((0.18 + 0.06) / 2, abs=0.003)
    assert both.recovered["fused_seen"].value == pytest.approx(0.6, abs=0.01)


def test_what_is_recovered_is_told_of_all_points_too() -> None:
    made = scores(MODELS)
    oracles = {(score.shift, score.unseen): score.miou for score in made if score.model == "oracle"}
    for score in made:
        if score.model == "adapted":
            score.miou["fused"] = oracles[score.shift, score.unseen]["fused"]
    found = ScoreTable(made, "source", "normalization only", "adapted", "oracle")
    night = found.row("night", "adapted")
    assert night.recovered["fused_seen"].value == pytest.approx(0.6, abs=0.01)
    assert night.recovered["fused"].value == pytest.approx(1)
    header, rows = found.branches()
    place = header.index("fused, all points") + 2
    assert header[place] == "recovered"
    assert {row[place] for row in rows if row[:2] == ["night", "adapted"]} == {"1.00 [1.00, 1.00]"}
    assert {row[place] for row in rows if row[1] in ("source", "oracle")} == {""}


def test_the_worst_seed_is_told() -> None:
    row = table(bad_seed=0.25).row("night", "adapted")
    assert row.worst_seed == pytest.approx(0.18 - 0.25, abs=0.005)
    assert row.recovered["fused_seen"].value == pytest.approx(0.6 - 0.25 / 3 / 0.3, abs=0.2)


def test_verdicts_say_what_is_missed() -> None:
    night, city = table().verdicts()
    assert night.startswith("night: recovered 0.6") and "MISSES" not in night
    assert "new_city" in city and "MISSES" not in city
    missed = table(bad_seed=0.25).verdicts()[0]
    assert "worst seed -0.07" in missed and "MISSES >= -0.005" in missed


def test_noise_is_called_noise_and_nothing_is_compared_with_itself() -> None:
    equal = ScoreTable(
        scores({"source": 0.0, "normalization only": 0.0, "adapted": 0.0, "oracle": 1.0}),
        "source", "normalization only", "adapted", "oracle",
    )  # fmt: skip
    header, rows = equal.table()
    by_name = {(row[0], row[1]): dict(zip(header, row, strict=True)) for row in rows}
    assert by_name["night", "adapted"]["- source"].endswith("noise")
    assert not by_name["night", "oracle"]["- source"].endswith("noise")
    assert by_name["night", "source"]["- source"] == ""
    assert by_name["night", "adapted"]["- adapted"] == ""


def test_without_an_oracle_nothing_is_said_of_recovering() -> None:
    models = {name: share for name, share in MODELS.items() if name != "oracle"}
    found = ScoreTable(scores(models), "source", "normalization only", "adapted", "")
    assert np.isnan(found.row("night", "adapted").recovered["fused_seen"].value)
    assert "recovered" not in found.verdicts()[0]
    assert "recovered" not in found.branches()[0]


def test_markdown_and_json_have_every_row() -> None:
    found = table()
    text = found.markdown("Domains abc.")
    assert text.startswith("Domains abc. Learned from the drives of seeds 110, 111, 112; 9 unseen drives a shift.")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 * (2 + 3 * len(MODELS))
    assert len({line.count(" | ") for line in lines[: len(lines) // 2]}) == 1
    values = json.loads(json.dumps(json_values(found.as_dict())))
    assert len(values) == 3 * len(MODELS)
    assert values[2]["recovered"]["fused_seen"][0] == pytest.approx(0.6, abs=0.01)
