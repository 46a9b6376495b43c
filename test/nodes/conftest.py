from collections.abc import Iterator
from pathlib import Path

import pytest
from node_support import CAMERAS, Rig, make_config, save_calibration, save_weights

from sam_adapt_ros.nodes.tools.node_process import NodeProcess


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture(scope="session")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_calibration(tmp_path_factory.mktemp("calibration") / "calibration.yaml", CAMERAS)


@pytest.fixture(scope="module")
def segmenter(weights: Path, calibration: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """The segmenter with two cameras, running in a process of its own; its log is in ``segmenter.log_path``."""
    log_path = tmp_path_factory.mktemp("segmenter") / "log"
    with log_path.open("w") as log:
        process = NodeProcess("segmenter", make_config(weights, calibration, CAMERAS), use_sim_time=True, log=log)
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
    """The sensors, and a segmenter that is there and answers."""
    assert segmenter.exit_code is None, segmenter.log_path.read_text()  # type: ignore[attr-defined]
    live_rig.ask(timeout=30.0)
    return live_rig
