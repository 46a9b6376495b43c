"""Scores that there are not: a dash where there are others, an error where there is none; never NaN and exit code 0."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sam_adapt_ros import cli
from sam_adapt_ros.bags import BagWriter, MessageReader

OPTIONS = ["-c", "town", "-s", "segmenter.threads=1"]


def edited(source: Path, target: Path, edit: Any) -> Path:
    """A copy of a bag. edit: topic, message -> the message to write, None to leave it out."""
    with MessageReader(source) as reader, BagWriter(target) as writer:
        for message in reader.messages():
            changed = edit(message.topic, message.decode())
            if changed is not None:
                latched = message.topic == "/tf_static"
                writer.write(message.topic, changed, message.log_time_ns, transient_local=latched)
    shutil.copy(source / "calibration.yaml", target)
    return target


def without_images(topic: str, msg: Any) -> Any:
    return None if topic.startswith("/CAM_FRONT") else msg


def with_a_view_of_nothing(topic: str, msg: Any) -> Any:
    if topic == "/CAM_FRONT/camera_info":
        msg.p = msg.p.copy()
        msg.p[0] = msg.p[5] = 1e7  # a thousandth of a degree wide
    return msg


def without_a_label(topic: str, msg: Any) -> Any:
    if topic == "/ground_truth/labels":
        (offset,) = (field.offset for field in msg.fields if field.name == "class_id")
        msg.data = msg.data.copy()
        msg.data[offset :: msg.point_step] = 255
    return msg


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(cli.app, [*map(str, arguments), *OPTIONS], catch_exceptions=True)
    assert "nan" not in result.output.lower(), result.output
    return result


@pytest.mark.parametrize("edit", [without_images, with_a_view_of_nothing])
@pytest.mark.parametrize("adapt", [[], ["--adapt"]])
def test_a_labelled_bag_in_which_no_camera_sees_a_point_has_its_scores(
    night_bag: Path, tmp_path: Path, edit: Any, adapt: list
) -> None:
    bag = edited(night_bag, tmp_path / "bag", edit)
    result = invoke("replay", bag, "-o", tmp_path / "out", *adapt)
    assert result.exit_code == 0, result.output
    line = next(line for line in result.output.splitlines() if line.startswith("mean IoU"))
    assert line.startswith("mean IoU: 2d –, 3d 0.8") and line.endswith("fused_seen –, of 3 frames with true labels")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["miou"]["2d"] is None
    if not adapt:
        table = invoke("evaluate", bag)
        assert table.exit_code == 0 and "–" in table.output


def test_labels_that_are_none_are_an_error_where_scores_are_asked_for(night_bag: Path, tmp_path: Path) -> None:
    bag = edited(night_bag, tmp_path / "bag", without_a_label)
    result = invoke("evaluate", bag)
    assert result.exit_code != 0
    assert "no ground truth on /ground_truth/labels, or no labelled point in it" in str(result.exception)
    for adapt in ([], ["--adapt"]):
        result = invoke("replay", bag, "-o", tmp_path / "out", "--force", *adapt)
        assert result.exit_code == 0 and "mean IoU" not in result.output
        assert "none of the 3 frames with true labels has a labelled point" in " ".join(result.output.split())
        assert "NaN" not in (tmp_path / "out" / "summary.json").read_text()
