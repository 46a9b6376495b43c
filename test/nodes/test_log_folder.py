"""ROS has a place for its logs, whoever the user is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sam_adapt_ros.nodes.log_folder import ensure_log_folder
from sam_adapt_ros.resources import share_directory


def test_ros_keeps_its_own_folder_where_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ROS_HOME", raising=False)
    environment: dict[str, str] = {}
    ensure_log_folder(environment)
    ensure_log_folder({"ROS_LOG_DIR": str(tmp_path / "logs")})
    assert environment == {}
    assert (tmp_path / ".ros" / "log").is_dir()
    assert (tmp_path / "logs").is_dir()


@pytest.mark.parametrize("home", ["/proc/none", "{file}"])
def test_a_home_that_cannot_be_written_is_replaced_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, home: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", home.format(file=tmp_path / "file"))
    monkeypatch.delenv("ROS_HOME", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment: dict[str, str] = {}
    ensure_log_folder(environment)
    assert Path(environment["ROS_LOG_DIR"]).parent == tmp_path
    assert f"ROS logs to {environment['ROS_LOG_DIR']} (ROS_LOG_DIR), since " in caplog.text


def test_a_user_without_a_name_and_a_home_can_start_nodes_and_commands(tmp_path: Path) -> None:
    """As in a container that is started with any user id."""
    nameless = ["unshare", "--user", "--map-user=54321", "--map-group=54321", "env", "-i"]
    if subprocess.run([*nameless, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine has no user namespaces")
    environment = [f"PYTHONPATH={share_directory()}", "PATH=/usr/bin:/bin", f"TMPDIR={tmp_path}"]
    environment += ["CUDA_VISIBLE_DEVICES="]
    environment += ["ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST", f"ROS_DOMAIN_ID={os.environ.get('ROS_DOMAIN_ID', 99)}"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*nameless, *environment, sys.executable, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    node = run("-m", "sam_adapt_ros.nodes.segmenter_node", "--ros-args", "-p", "segmenter.precision:=none")
    assert "segmenter.precision" in node.stderr
    assert "Traceback" not in node.stderr
    assert "ROS logs to" in node.stderr
    # Without it PyTorch 2.11 cannot be imported.
    cache = run("-c", "import os, sam_adapt_ros; print(os.environ['TORCHINDUCTOR_CACHE_DIR'])")
    assert cache.stdout.strip() == str(tmp_path / "torchinductor_54321"), cache.stderr
    assert run("-m", "sam_adapt_ros.cli", "town", "drive", "--frames", "1").returncode == 0
    assert run("-m", "sam_adapt_ros.cli", "replay", "drive").returncode == 0
    for command in (["run", "-c", "town"], ["demo"]):
        failed = run("-m", "sam_adapt_ros.cli", *command)
        assert failed.returncode == 1
        assert failed.stderr.splitlines()[-1].startswith("error: no home folder is known: set HOME, or ")
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith("~")]
