"""How the segmenter's process starts, is supervised, and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from node_support import CAMERAS, Rig, make_config, until

from sam_adapt_ros.nodes.run import SegmenterProcess, parameter_file

NODE = [sys.executable, "-m", "sam_adapt_ros.nodes.segmenter", "--ros-args"]


def fails(*arguments: str) -> str:
    ran = subprocess.run([*NODE, *arguments], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stderr


def test_wrong_parameters_end_it_with_their_names() -> None:
    assert "error: parameters: segmenter.devise: Extra inputs" in fails("-p", "segmenter.devise:=cpu")
    unknown = fails("-p", "segmenter.weights:=/no/such.safetensors")
    assert "/no/such.safetensors" in unknown
    assert "could not be started" in unknown


def test_sigterm_in_mid_stream_ends_it_cleanly(weights: Path, calibration: Path, tmp_path: Path) -> None:
    log_path = tmp_path / "log"
    with log_path.open("w") as log, SegmenterProcess(make_config(weights, calibration, CAMERAS), log=log) as segmenter:
        rig = Rig()
        try:
            rig.wait_for_segmenter()
            rig.ask(timeout=30.0)
            assert segmenter.process is not None
            rig.send(rig.tick())
            segmenter.process.send_signal(signal.SIGTERM)
            start = time.monotonic()
            assert segmenter.process.wait(30.0) == 0, log_path.read_text()
            assert time.monotonic() - start < 5.0, "before ros2 launch loses patience"
        finally:
            rig.close()
    said = log_path.read_text()
    assert "ended: " in said
    assert "frames in" in said
    assert "Traceback" not in said


def test_run_supervises_a_namespaced_segmenter_and_ends_on_ctrl_c(
    weights: Path, calibration: Path, tmp_path: Path
) -> None:
    parameters = tmp_path / "params.yaml"
    content: dict[str, Any] = parameter_file(make_config(weights, calibration, CAMERAS))
    parameters.write_text(yaml.safe_dump(content))
    code = (
        f"from sam_adapt_ros.nodes import run; run.SETTLED_S = 0.0; exit(run.run({str(parameters)!r}, namespace='car'))"
    )
    log_path = tmp_path / "log"
    with log_path.open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: log_path.read_text().count(": active") == 1, 60.0, "active")
        assert "[car.segmenter]" in log_path.read_text()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
        os.kill(int(children[0]), signal.SIGKILL)
        until(lambda: log_path.read_text().count(": active") == 2, 60.0, "active again")
        process.send_signal(signal.SIGINT)
        assert process.wait(30.0) == 0
    finally:
        process.kill()
        process.wait()
    assert "started again" in log_path.read_text()
    assert "ended: " in log_path.read_text()
