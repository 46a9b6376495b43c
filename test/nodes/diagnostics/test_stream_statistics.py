from __future__ import annotations

import re
from pathlib import Path

import pytest
from node_support import START_NS, LogRecorder, make_config, make_statistics

from sam_adapt_ros.nodes.diagnostics.stream_statistics import EXPLANATIONS


def test_percentiles_by_stage() -> None:
    statistics = make_statistics()
    for place in range(101):
        statistics.labelled(10, 4, {"model": place * 1e-3, "total": place * 2e-3})
    assert statistics.latency_ms()["model"] == {"p50": 50.0, "p90": 90.0, "p99": 99.0}
    assert statistics.points_seen_by_camera == 404


def test_rates_are_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("sam_adapt_ros.nodes.diagnostics.stream_statistics.time.monotonic", lambda: now[0])
    statistics = make_statistics()
    for _ in range(11):
        statistics.arrived()
        now[0] += 0.1
    assert statistics.rates() == {"frames_in_hz": pytest.approx(10.0, abs=0.01), "fps": 0.0}
    now[0] += 60.0
    assert statistics.rates()["frames_in_hz"] == 0.0


def test_what_is_dropped_is_counted_and_explained_in_the_log() -> None:
    log = LogRecorder()
    statistics = make_statistics(log)
    for _ in range(3):
        statistics.drop("overload", START_NS)
    statistics.drop("cloud_empty", START_NS, "point cloud: no points")
    statistics.drop_image("front", "image_size", "96 x 64 expected")
    statistics.messages_lost("/points", 2)
    assert statistics.dropped == {"overload": 3, "cloud_empty": 1}
    assert statistics.camera_drops == {"front.image_size": 1}
    assert statistics.warnings == {"points_message_lost": 2}
    overload, empty, image, lost = log.lines
    assert overload == f"sweep dropped (overload) at 1700000000.000: {EXPLANATIONS['overload']}"
    assert empty == "sweep dropped (cloud_empty) at 1700000000.000: point cloud: no points"
    assert image == "camera front: image not used (image_size), its sweep is labelled without it: 96 x 64 expected"
    assert "fastdds.xml" in lost


def test_explanations_name_parameters_that_exist() -> None:
    known = make_config(Path(), Path(), ()).to_flat()
    named = {name for text in EXPLANATIONS.values() for name in re.findall(r"\b[a-z]+\.[a-z_]+\b", text)}
    assert named - {"header.stamp", "fastdds.xml"} <= set(known)
