"""How the segmenter's process starts, is supervised, and ends."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
import rclpy
from node_support import CAMERAS, Rig, make_config, until
from rclpy.node import Node

from sam_adapt_ros.config import Config
from sam_adapt_ros.nodes import fastdds
from sam_adapt_ros.nodes.parameter_files import parameter_text
from sam_adapt_ros.nodes.tools import node_process
from sam_adapt_ros.nodes.tools.node_process import NodeProcess, describe_exit

NODE = [sys.executable, "-m", "sam_adapt_ros.nodes.segmenter_node", "--ros-args"]


def launch(parameters: Path, **arguments: str) -> str:
    """The code of a process that does what ``sam-adapt run`` does."""
    given = {"params_file": str(parameters), **arguments}
    return f"from sam_adapt_ros.nodes.tools import launcher\nexit(launcher.run(launcher.LaunchArguments(**{given!r})))"


def children(pid: int) -> dict[str, int]:
    """Process ids of the nodes that a process runs, by their names."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        command = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        found |= {
            word.rpartition(".")[2].removesuffix("_node"): int(child)
            for word in command
            if word.startswith("sam_adapt_ros.nodes.")
        }
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def end(ran: subprocess.Popen) -> None:
    """Also when a test has failed: the nodes must not outlive it."""
    nodes = children(ran.pid).values() if ran.poll() is None else ()
    ran.kill()
    ran.wait()
    for node in nodes:
        os.kill(node, signal.SIGKILL)


def fails(*arguments: str) -> str:
    ran = subprocess.run([*NODE, *arguments], capture_output=True, text=True, timeout=120)
    assert ran.returncode == os.EX_CONFIG, ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stderr


def test_wrong_parameters_end_it_with_their_names() -> None:
    assert "error: parameters: segmenter.devise: Extra inputs" in fails("-p", "segmenter.devise:=cpu")
    unknown = fails("-p", "segmenter.weights:=/no/such.safetensors")
    assert "/no/such.safetensors" in unknown
    assert "could not be started" in unknown


def test_sigterm_in_mid_stream_ends_it_cleanly(weights: Path, calibration: Path, tmp_path: Path) -> None:
    log_path = tmp_path / "log"
    with (
        log_path.open("w") as log,
        NodeProcess("segmenter", make_config(weights, calibration, CAMERAS), log=log) as segmenter,
    ):
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
    parameters.write_text(parameter_text(make_config(weights, calibration, CAMERAS)))
    code = "from sam_adapt_ros.nodes.tools import node_process; node_process.SETTLED_S = 0.0\n" + launch(
        parameters, mode="off", namespace="car"
    )
    log_path = tmp_path / "log"
    with log_path.open("w") as log:
        ran = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: log_path.read_text().count(": active") == 1, 60.0, "active")
        assert "[car.segmenter]" in log_path.read_text()
        assert list(children(ran.pid)) == ["segmenter"]
        os.kill(children(ran.pid)["segmenter"], signal.SIGKILL)
        until(lambda: log_path.read_text().count(": active") == 2, 60.0, "active again")
        ran.send_signal(signal.SIGINT)
        assert ran.wait(30.0) == 0
    finally:
        end(ran)
    assert "started again" in log_path.read_text()
    assert "ended: " in log_path.read_text()


def start_both(weights: Path, calibration: Path, folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """Segmenter and adapter under a supervisor; returns it and its log."""
    parameters = folder / "params.yaml"
    parameters.write_text(parameter_text(make_config(weights, calibration, CAMERAS)))
    code = launch(parameters, store=str(folder / "store"))
    log_path = folder / "log"
    with log_path.open("w") as log:
        return subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log, start_new_session=True), log_path


def test_an_adapter_that_was_killed_is_started_again_and_the_segmenter_labels_on(
    weights: Path, calibration: Path, tmp_path: Path
) -> None:
    ran, log_path = start_both(weights, calibration, tmp_path)
    rig = Rig()
    try:
        for sign in (": active", "[adapter]"):
            until(lambda sign=sign: sign in log_path.read_text(), 60.0, sign)
        rig.wait_for_segmenter()
        until(rig.answers, 60.0, "the first labels")
        before = children(ran.pid)
        os.kill(before["adapter"], signal.SIGKILL)
        asked = 0
        deadline = time.monotonic() + 60.0
        while children(ran.pid).get("adapter", before["adapter"]) == before["adapter"]:
            assert time.monotonic() < deadline, log_path.read_text()
            rig.ask()  # fails when its labels do not come
            asked += 1
        assert asked > 3
        assert children(ran.pid)["segmenter"] == before["segmenter"]
        report = rig.report()
        assert report["frames_in"] == report["frames_labelled"] > asked
        ran.send_signal(signal.SIGINT)
        assert ran.wait(30.0) == 0
    finally:
        rig.close()
        end(ran)


@pytest.mark.parametrize("moment", ["starting", "running"])
def test_nodes_end_with_a_supervisor_that_is_killed(
    weights: Path, calibration: Path, tmp_path: Path, moment: str
) -> None:
    ran, log_path = start_both(weights, calibration, tmp_path)
    nodes: dict[str, int] = {}
    try:
        until(lambda: len(children(ran.pid)) == 2, 60.0, "both are there")
        if moment == "running":
            for sign in (": active", "learning (source_free)"):
                until(lambda sign=sign: sign in log_path.read_text(), 240.0, sign)
        nodes = children(ran.pid)
        ran.kill()
        ran.wait()
        until(lambda: not any(alive(pid) for pid in nodes.values()), 30.0 if moment == "starting" else 10.0, "ended")
    finally:
        end(ran)
        for pid in nodes.values():
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
    said = log_path.read_text()
    assert said.count("has ended; the node stops") == 2
    assert said.count("ended: ") == 2  # cleanly
    assert "Traceback" not in said


def test_a_node_without_supervisor_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    """As with ``ros2 run`` in a shell that is closed."""
    code = (
        "import os, subprocess, sys\n"
        f"node = subprocess.Popen({NODE!r} + ['-p', 'segmenter.autostart:=false'], stdout=2, start_new_session=True)\n"
        "print(node.pid, flush=True)"
    )
    environment = {name: value for name, value in os.environ.items() if name != node_process.SUPERVISOR}
    with (tmp_path / "log").open("w") as log:
        ran = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=log, text=True, env=environment, timeout=60
        )
    pid = int(ran.stdout)
    try:
        until(lambda: "waiting for a lifecycle manager" in (tmp_path / "log").read_text(), 60.0, "waits")
        time.sleep(1.5)
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_killed_supervisor_leaves_no_parameter_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    it = NodeProcess("no_such_node", Config())
    it.start()
    try:
        assert list(tmp_path.iterdir()) == []
    finally:
        it.stop()


@pytest.mark.parametrize("simulated", [True, False])
def test_a_node_has_the_time_that_it_is_given(simulated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def read(command: list[str], **_: object) -> Mock:
        context = rclpy.Context()
        rclpy.init(args=command[command.index("--ros-args") :], context=context)
        node = Node("segmenter", context=context)
        found.append(node.get_parameter("use_sim_time").value)
        node.destroy_node()
        context.shutdown()
        return Mock()

    monkeypatch.setattr(subprocess, "Popen", read)
    NodeProcess("segmenter", Config(), of_ros={"use_sim_time": simulated}).start()
    assert found == [simulated]


def test_exits_are_described() -> None:
    assert describe_exit(3) == "ended with code 3"
    assert describe_exit(-signal.SIGTERM) == "was ended by SIGTERM"
    assert describe_exit(-signal.SIGKILL) == "was ended by SIGKILL (as the kernel does when memory runs out)"


def test_the_delay_before_restarts_doubles(
    weights: Path,
    calibration: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(node_process, "FIRST_DELAY_S", 0.1)
    monkeypatch.setattr(node_process, "LONGEST_DELAY_S", 0.4)
    delays = []
    with (
        (tmp_path / "log").open("w") as log,
        NodeProcess("no_such_node", make_config(weights, calibration, CAMERAS), log=log) as it,
    ):
        for _ in range(4):
            until(lambda: it.exit_code is not None, 20.0)
            dead, first = time.monotonic(), it.process
            while it.process is first:
                it.keep_running()
            delays.append(time.monotonic() - dead)
    assert it.restarts == 4
    assert "the no_such_node ended with code 1; its log has the reason; it is started again in 0.1 s" in caplog.text
    for delay, expected in zip(delays, (0.1, 0.2, 0.4, 0.4), strict=True):
        assert expected <= delay < expected + 0.3


def test_a_node_whose_parameters_do_not_fit_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(node_process, "FIRST_DELAY_S", 0.0)
    codes = iter([os.EX_CONFIG, 1, os.EX_CONFIG, 0])

    def start(it: NodeProcess) -> None:
        it.process = subprocess.Popen([sys.executable, "-c", f"exit({next(codes)})"])
        it.process.wait()

    monkeypatch.setattr(NodeProcess, "start", start)
    for expected in (os.EX_CONFIG, 0):  # the second node had fitted parameters once: it goes on
        it = NodeProcess("segmenter", Config())
        it.start()
        for _ in range(10):
            it.keep_running()
            if it.exit_code == 0:
                break
        assert it.exit_code == expected
    assert caplog.text.count("the segmenter cannot start with these parameters") == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["-s", "segmenter.weights=/no/such.safetensors"], "ended with code 78 soon after its start"),
        (["-s", "segmenter.autostart=false", "--respawn", "FALSE"], "was ended by SIGKILL"),
    ],
)
def test_run_ends_with_a_segmenter_that_is_not_started_again(tmp_path: Path, given: list[str], said: str) -> None:
    code = "import sys\nfrom sam_adapt_ros.cli import main\nfrom sam_adapt_ros.nodes.tools import node_process\n"
    if "FALSE" in given:
        code += "node_process.SETTLED_S = 0.0\n"
    code += f"sys.argv[1:] = {['run', '-c', 'town', '--mode', 'off', *given]!r}\nmain()"
    log_path = tmp_path / "log"
    with log_path.open("w") as log:
        ran = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log, start_new_session=True)
    try:
        if "FALSE" in given:
            until(lambda: "lifecycle manager" in log_path.read_text(), 60.0, "started")
            os.kill(children(ran.pid)["segmenter"], signal.SIGKILL)
        assert ran.wait(60.0) != 0
    finally:
        end(ran)
    logged = log_path.read_text()
    assert f"the segmenter {said}" in logged
    assert ": the run ends" in logged.replace("\n", " ")


def test_a_restart_that_fails_is_tried_again(
    weights: Path, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a moment the disk has no space for its parameters: the supervisor goes on."""
    monkeypatch.setattr(node_process, "FIRST_DELAY_S", 0.1)
    with (
        (tmp_path / "log").open("w") as log,
        NodeProcess("no_such_node", make_config(weights, calibration, CAMERAS), log=log) as it,
    ):
        until(lambda: it.exit_code is not None, 20.0)
        first = it.process
        with monkeypatch.context() as patch:
            full = OSError(errno.ENOSPC, "No space left on device")
            patch.setattr(node_process.tempfile, "TemporaryFile", Mock(side_effect=full))
            for _ in range(8):
                it.keep_running()
                time.sleep(0.05)
            assert it.process is first
            assert node_process.tempfile.TemporaryFile.called
        until(lambda: it.keep_running() or it.process is not first, 5.0)


def segments() -> set[str]:
    """Shared memory of DDS participants, by the names of the files that their owners lock."""
    return {path.name for path in Path("/dev/shm").glob("fastrtps_*_el") if "port" not in path.name}


def test_memory_of_the_killed_is_freed_and_that_of_the_living_is_not() -> None:
    """70 MB each, with our profile: killed often enough, nodes would fill the memory of the machine."""
    before = segments()
    rig = Rig()
    living = segments() - before
    code = (
        "import rclpy, time; from sam_adapt_ros.nodes import fastdds; fastdds.use_profile(); rclpy.init();"
        "node = rclpy.create_node('short'); print('up', flush=True); time.sleep(60)"
    )
    ran = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert ran.stdout is not None
        assert ran.stdout.readline() == "up\n"
        until(lambda: segments() - before - living, 10.0, "its memory")
        killed = segments() - before - living
        fastdds.remove_stale_shared_memory(min_age_s=0.0)
        assert killed | living <= segments(), "all are alive"
        ran.kill()
        ran.wait()
        fastdds.remove_stale_shared_memory(min_age_s=60.0)
        assert killed <= segments(), "too young to be judged"
        assert fastdds.remove_stale_shared_memory(min_age_s=0.0) >= len(killed)
        assert not killed & segments()
        assert not [name for name in killed if (Path("/dev/shm") / name.removesuffix("_el")).exists()]
        assert living <= segments()
        assert rig.publishers
    finally:
        ran.kill()
        rig.close()
