"""``make tf2-msgs``: the message of /tf, generated for an environment of wheels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from rosbags.typesys import Stores, get_typestore

SCRIPT = Path(__file__).parents[2] / ".ci" / "tf2_msgs.sh"
EXCHANGE = """
import rclpy, time
from geometry_msgs.msg import TransformStamped
from tf2_msgs.msg import TFMessage
rclpy.init()
node, seen = rclpy.create_node("both"), []
node.create_subscription(TFMessage, "/tf", seen.append, 10)
publisher = node.create_publisher(TFMessage, "/tf", 10)
end = time.monotonic() + 20
while not seen and time.monotonic() < end:
    publisher.publish(TFMessage(transforms=[TransformStamped(child_frame_id="base_link")]))
    rclpy.spin_once(node, timeout_sec=0.1)
print(seen[0].transforms[0].child_frame_id)
"""


def wheels() -> list[str]:
    """The client library as it is installed here."""
    names = ("ros-rclpy", "ros-rmw-fastrtps-cpp", "ros-geometry-msgs")
    try:
        return [f"{name}=={version(name)}" for name in names]
    except PackageNotFoundError:
        pytest.skip("ROS 2's client library is not installed as wheels")


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_message_of_tf_is_generated_and_exchanged(tmp_path: Path) -> None:
    for tool in ("cmake", "make", "c++"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "numpy", *wheels()], check=True)
    subprocess.run([SCRIPT, tmp_path / "venv"], check=True)
    # The wheels' start-up hook sets the library path of its own environment, once for a process and its children.
    hook = ("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH")
    env = {name: value for name, value in os.environ.items() if name not in hook}
    exchanged = subprocess.run([python, "-c", EXCHANGE], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert exchanged.returncode == 0, exchanged.stderr
    assert exchanged.stdout.strip() == "base_link"
    description = json.loads((tmp_path / "venv" / "share" / "tf2_msgs" / "msg" / "TFMessage.json").read_text())
    hashes = {entry["type_name"]: entry["hash_string"] for entry in description["type_hashes"]}
    assert hashes["tf2_msgs/msg/TFMessage"] == get_typestore(Stores.ROS2_JAZZY).hash_rihs01("tf2_msgs/msg/TFMessage")
