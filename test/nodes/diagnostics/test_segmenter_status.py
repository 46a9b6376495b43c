from __future__ import annotations

from node_support import START_NS, make_statistics, odometry_message

from sam_adapt_ros.nodes.diagnostics.diagnostic_messages import diagnostic_array, read_diagnostics
from sam_adapt_ros.nodes.diagnostics.segmenter_status import latency_status, model_status, stream_status


def test_statistics_come_out_of_diagnostics_as_they_went_in() -> None:
    statistics = make_statistics()
    for place in range(101):
        statistics.arrived()
        statistics.labelled(10, 4, {"model": place * 1e-3, "total": place * 2e-3})
    statistics.arrived()
    statistics.drop("overload")
    statistics.drop_image("front", "image_size")
    statistics.warn("clock_jump")
    statuses = [
        stream_status("ns/segmenter", statistics, [], {"overload": 1}, {"camera_silent.front": 2}),
        latency_status("ns/segmenter", statistics),
        model_status("ns/segmenter", None, "w.safetensors"),
    ]
    message = diagnostic_array(odometry_message(START_NS).header.stamp, statuses)
    read = read_diagnostics(message, "ns/segmenter")
    counts = ("frames_in", "frames_labelled", "points", "points_seen_by_camera")
    assert [read[name] for name in counts] == [102, 101, 1010, 404]
    assert read["dropped"] == {"overload": 1}
    assert read["camera_drops"] == {"front": {"image_size": 1}}
    assert read["warnings"] == {"clock_jump": 1}
    assert read["synchronizer"] == {"camera_silent": {"front": 2}}
    assert read["latency_ms"] == statistics.latency_ms()
    assert read["weights"] == "w.safetensors"
    assert read["memory_mb"] > 0
    assert "1 overload" in statuses[0].message
    waiting = stream_status("segmenter", statistics, ["/points (no publisher)"], {}, {})
    assert waiting.message == "waiting for /points (no publisher)"
    assert waiting.level == b"\x01"
