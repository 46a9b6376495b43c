from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus
from node_support import START_NS, odometry_message

from sam_adapt_ros.nodes.diagnostics.diagnostic_messages import (
    HARDWARE_ID,
    diagnostic_array,
    flattened,
    read_diagnostics,
    status,
)


def test_nested_values_come_out_as_they_went_in() -> None:
    values = {"frames": {"lacking": {"new": 3}, "training": 5}, "phase": "waiting", "rate": 9.5}
    statuses = [
        status(DiagnosticStatus.WARN, "ns/adapter: learning", "waiting", values),
        status(DiagnosticStatus.OK, "ns/adapter: store", "v0001 in use", {"current": "v0001"}),
        status(DiagnosticStatus.OK, "other: stream", "", {"frames_in": 1}),
    ]
    message = diagnostic_array(odometry_message(START_NS).header.stamp, statuses)
    assert message.header.stamp.sec == START_NS // 10**9
    assert {each.hardware_id for each in message.status} == {HARDWARE_ID}
    assert read_diagnostics(message, "ns/adapter") == {**values, "current": "v0001"}
    assert read_diagnostics(message, "adapter") == {}


def test_what_is_no_number_and_no_text_is_left_out() -> None:
    values = {"a": float("nan"), "b": None, "c": [1], "d": {"e": 0.123456, "f": True}}
    assert flattened(values) == {"d.e": 0.1235, "d.f": True}
