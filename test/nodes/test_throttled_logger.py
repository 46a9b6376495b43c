from __future__ import annotations

import pytest
from node_support import LogRecorder

from sam_adapt_ros.nodes.throttled_logger import ThrottledLogger


def test_a_repeated_message_is_logged_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("sam_adapt_ros.nodes.throttled_logger.time.monotonic", lambda: now[0])
    record = LogRecorder()
    log = ThrottledLogger(record)
    for second in range(40):
        log.warning("sweep dropped", f" ({second})")
        now[0] += 1.0
    assert record.lines == [f"sweep dropped ({second})" for second in (0, 5, 15, 35)]
    log.info("another")
    assert record.lines[-1] == "another"
    now[0] += 1000.0
    record.lines.clear()
    for second in range(12):
        log.warning("sweep dropped", f" ({second})")
        now[0] += 1.0
    assert record.lines == ["sweep dropped (0)", "sweep dropped (5)"], "as from the beginning once it had stopped"
