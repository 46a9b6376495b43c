import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from node_support import CAMERAS, Rig, make_config, save_calibration, save_weights
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from sam_adapt_ros.nodes.tools.node_process import NodeProcess


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="session")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_calibration(tmp_path_factory.mktemp("calibration") / "calibration.yaml", CAMERAS)


# Nodes in process -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def context() -> Iterator[Context]:
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    yield context
    rclpy.try_shutdown(context=context)


@pytest.fixture
def node(context: Context) -> Iterator[Node]:
    node = Node("unit", context=context, use_global_arguments=False)
    yield node
    node.destroy_node()


@pytest.fixture
def drivers() -> Iterator[Node]:
    """A node in a context, and so a DDS participant, of its own."""
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = Node("drivers", context=context, use_global_arguments=False)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


@pytest.fixture
def spin(node: Node, context: Context) -> Iterator[Callable[..., None]]:
    """Spins the node until a condition holds."""
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin(condition: Callable[[], Any], timeout: float = 10.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline
            executor.spin_once(timeout_sec=0.02)

    yield spin
    executor.remove_node(node)
    executor.shutdown()


# The segmenter in a process of its own --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def segmenter(weights: Path, calibration: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """The segmenter with two cameras, running in a process of its own; its log is in ``segmenter.log_path``."""
    log_path = tmp_path_factory.mktemp("segmenter") / "log"
    with log_path.open("w") as log:
        process = NodeProcess(
            "segmenter", make_config(weights, calibration, CAMERAS), of_ros={"use_sim_time": True}, log=log
        )
        process.log_path = log_path  # type: ignore[attr-defined]
        with process:
            yield process
    assert process.exit_code == 0, log_path.read_text()


@pytest.fixture(scope="module")
def live_rig(segmenter: NodeProcess) -> Iterator[Rig]:
    rig = Rig()
    rig.wait_for_segmenter()
    yield rig
    rig.close()


@pytest.fixture
def rig(live_rig: Rig, segmenter: NodeProcess) -> Rig:
    """The sensors, and a segmenter that runs and answers."""
    assert segmenter.exit_code is None, segmenter.log_path.read_text()  # type: ignore[attr-defined]
    live_rig.ask(timeout=30.0)
    return live_rig
