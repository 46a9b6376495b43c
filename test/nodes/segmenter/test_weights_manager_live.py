"""The segmenter node and the weight store, over DDS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from node_support import Rig, make_config, save_calibration, until
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from weights_support import IMAGE, POINTS, collapsed, labels_of, promote, varied

from sam_adapt_ros.adaptation import Record, StoreReader, WeightStore
from sam_adapt_ros.messages import read_labels
from sam_adapt_ros.nodes.tools.node_process import NodeProcess


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    rig.points, rig.image = POINTS, IMAGE
    yield rig
    rig.close()


def send_until(rig: Rig, condition: Callable[[], bool], what: str, timeout: float = 60.0) -> list[int]:
    """Sends frames at 10 Hz; returns their stamps when all have been answered."""
    stamps: list[int] = []

    def step() -> bool:
        stamps.append(rig.tick())
        rig.send(stamps[-1], cameras=("front",))
        until(lambda: len(stamps) < 20 or stamps[-20] in rig.labels, 30.0, "answers")
        time.sleep(0.08)
        return condition()

    until(step, timeout, what)
    until(lambda: all(stamp in rig.labels for stamp in stamps), 30.0, "an answer to every frame")
    assert list(filter(set(stamps).__contains__, rig.labels)) == stamps, "in order"
    return stamps


def names_of(rig: Rig, stamps: list[int], expected: dict[str, np.ndarray]) -> list[str]:
    """Which weights each frame was labelled by: all of it by one of them."""
    names = []
    for stamp in stamps:
        _, labels, _ = read_labels(rig.labels[stamp])
        (name,) = [name for name, known in expected.items() if np.array_equal(labels, known)]
        names.append(name)
    return names


def changes(names: list[str]) -> list[str]:
    return [name for place, name in enumerate(names) if not place or name != names[place - 1]]


def test_the_node_loads_what_is_promoted_and_rolls_back_what_regresses(
    store: WeightStore, source: Path, rig: Rig, tmp_path: Path
) -> None:
    calibration = save_calibration(tmp_path / "calibration.yaml", ("front",))
    values = {"adaptation.store.folder": str(store.folder), "segmenter.queue_size": 100}
    good, bad = (store.add(weights, Record()) for weights in (varied(source, 1), collapsed(source)))
    expected = {version.name: labels_of(version.path) for version in (store.source(), good, bad)}
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    announcements = rig.node.create_publisher(String, "/adaptation/weights", latched)
    log_path = tmp_path / "log"
    # Only the announcement makes it poll in time.
    config = make_config(source, calibration, ("front",), **values, **{"adaptation.store.poll_period": 1000.0})
    with log_path.open("w") as log, NodeProcess("segmenter", config, log=log):
        rig.wait_for_segmenter(cameras=("front",))
        rig.ask(cameras=("front",), timeout=60.0)
        before = rig.report()
        assert (before["following"], before["rollback_monitor"]) == (str(store.folder), "idle")
        sent = send_until(rig, lambda: len(rig.labels) > 25, "frames by the source")
        for version in (good, bad):
            store.promote(version)
            announcements.publish(String(data=str(version.path)))
            began = rig.now

            def settled(name: str = good.name, since: int = began) -> bool:
                state = rig.diagnostics
                return (
                    rig.now > since + 3e9
                    and state.get("running") == name
                    and state.get("rollback_monitor") == "trusted"
                )

            sent += send_until(rig, settled, f"{good.name} trusted after {version.name}")
        names = names_of(rig, sent, expected)
        assert changes(names) == [store.source().name, good.name, bad.name, good.name]
        assert 6 <= names.count(bad.name) < 100  # until others are loaded
        after = rig.report()
        assert after["frames_in"] == after["frames_labelled"]
        assert after.get("dropped", {}) == {}
        assert (after["swaps"], after["rollbacks"], after["problem"]) == (3, 1, "")
        assert 0 < after["swap_ms"]["last"] <= after["swap_ms"]["max"]
        assert after["rolled_back"].startswith(f"{bad.name}: one class everywhere")
    assert StoreReader(store.folder).current() == good
    assert "Traceback" not in log_path.read_text()


def test_a_restart_picks_up_the_promoted_version_and_the_store_decides_from_then_on(
    store: WeightStore, source: Path, rig: Rig, tmp_path: Path
) -> None:
    calibration = save_calibration(tmp_path / "calibration.yaml", ("front",))
    values = {"adaptation.store.folder": str(store.folder), "adaptation.store.poll_period": 0.1}
    first, second = promote(store, varied(source, 1)), store.add(varied(source, 2), Record())
    expected = {version.name: labels_of(version.path) for version in (first, second)}
    log_path = tmp_path / "log"
    with (
        log_path.open("w") as log,
        NodeProcess("segmenter", make_config(source, calibration, ("front",), **values), log=log),
    ):
        rig.wait_for_segmenter(cameras=("front",))
        rig.ask(cameras=("front",), timeout=60.0)
        assert rig.report()["running"] == first.name
        store.promote(second)  # without an announcement
        sent = send_until(rig, lambda: rig.diagnostics.get("running") == second.name, "the second")
        assert changes(names_of(rig, sent, expected)) == [first.name, second.name]

        def set_parameter(name: str, value: str) -> tuple[bool, str]:
            parameter = Parameter(
                name=name, value=ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
            )
            request = SetParameters.Request(parameters=[parameter])
            result = rig.call(SetParameters, "/segmenter/set_parameters", request).results[0]
            return result.successful, result.reason

        accepted, reason = set_parameter("segmenter.weights", str(first.path))
        assert not accepted
        assert "the weight store decides" in reason
        swaps = rig.report()["swaps"]
        assert set_parameter("segmenter.fusion", "mean")[0]
        send_until(rig, lambda: rig.diagnostics.get("swaps", 0) > swaps, "the other fusion")
        assert rig.report()["running"] == second.name
    assert "Traceback" not in log_path.read_text()
