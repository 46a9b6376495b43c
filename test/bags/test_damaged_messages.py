"""Whatever a bag or a driver sends: a frame, or a drop that is counted with a reason; no other exception, no hang."""

from __future__ import annotations

import resource
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_factory import HEIGHT, WIDTH, Drive, config
from mutations import damaged_bytes, damaged_fields
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sam_adapt_ros.bags import BagReader, BagWriter, MessageReader, RawMessage, bag_info
from sam_adapt_ros.errors import SamAdaptError
from sam_adapt_ros.frame import Frame

SWEEPS = 4
LIDAR = "/LIDAR_TOP"
CONFIG = config(cameras__CAM_BACK__rectified=True)
DECODE = RawMessage.decode
LONGEST_S = 60.0
"""For one bag of a few sweeps; a hang, and no measure of speed."""
MOST_MEMORY = 1 << 30
"""Bytes by which reading damaged bags may raise the peak of this process."""

MESSAGES = [
    pytest.param(250, id="some"),
    pytest.param(50_000, id="many", marks=[pytest.mark.soak, pytest.mark.timeout(7200)]),
]
BAGS = [
    pytest.param(8, id="some"),
    pytest.param(250, id="many", marks=[pytest.mark.soak, pytest.mark.timeout(7200)]),
]


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, int, bytes]]:
    """Topic, type, time and CDR of a drive's messages: a JPEG camera, a raw one, two clouds, TF and odometry."""
    path = tmp_path_factory.mktemp("drive") / "bag"
    with BagWriter(path) as writer:
        Drive(sweeps=SWEEPS).write(writer)
    found = []
    with MessageReader(path) as reader:
        for message in reader.messages():
            found.append((message.topic, message.msgtype, message.log_time_ns, bytes(message.cdr())))
            if message.topic == "/CAM_BACK/image_rect_compressed":
                found[-1] = (message.topic, "sensor_msgs/msg/Image", message.log_time_ns, raw_image(message.decode()))
    return found


def raw_image(compressed: Any) -> bytes:
    store = get_typestore(Stores.ROS2_JAZZY)
    pixels = cv2.imdecode(compressed.data, cv2.IMREAD_COLOR)
    message = store.types["sensor_msgs/msg/Image"](
        compressed.header, HEIGHT, WIDTH, "bgr8", 0, 3 * WIDTH, pixels.reshape(-1)
    )
    return bytes(store.serialize_cdr(message, "sensor_msgs/msg/Image"))


class Outcomes:
    """Reads bags and checks what comes."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._peak = peak_memory()

    def read(self, bag: Path, damage: str) -> None:
        """Raises what is not a SamAdaptError. damage: names the bag in failures."""
        start = time.monotonic()
        try:
            with BagReader(bag, CONFIG, log=lambda _: None) as reader:
                for frame in reader.frames():
                    check(frame)
                counts = reader.counts
                assert counts.frames + sum(counts.dropped.values()) == counts.frames_in, damage
                self.counts.update(f"dropped {reason}" for reason in counts.dropped.elements())
                self.counts.update(f"camera {key.split('.')[0]}" for key in counts.cameras.elements())
                self.counts.update(f"message {key.split('.')[0]}" for key in counts.messages.elements())
                self.counts["frames"] += counts.frames
        except SamAdaptError as error:
            assert str(error) and "\n" not in str(error), damage
            self.counts[type(error).__name__] += 1
        assert time.monotonic() - start < LONGEST_S, damage
        assert peak_memory() - self._peak < MOST_MEMORY, damage


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def check(frame: Frame) -> None:
    count = len(frame.points)
    assert frame.points.dtype == np.float32 and frame.points.shape == (count, 3) and count
    assert frame.ground_truth is None or frame.ground_truth.shape == (count,)
    assert frame.T_odom_lidar is None or np.isfinite(frame.T_odom_lidar).all()
    for view in frame.views:
        assert view.image.shape == (view.camera.height, view.camera.width, 3) and view.image.dtype == np.uint8
        assert np.isfinite(view.T_camera_lidar).all()


def bytes_then_decoded(rng: np.random.Generator, message: RawMessage) -> Any:
    damaged = damaged_bytes(rng, bytes(message.data))
    return DECODE(replace(message, data=damaged))


def decoded_then_fields(rng: np.random.Generator, message: RawMessage) -> Any:
    return damaged_fields(rng, DECODE(message))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("count", MESSAGES)
@pytest.mark.parametrize("damage", [bytes_then_decoded, decoded_then_fields])
def test_damaged_messages(
    tmp_path: Path, messages: list, count: int, damage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, outcomes, damaged = np.random.default_rng(1), Outcomes(), 0
    with BagWriter(tmp_path / "bag") as writer:
        for topic, msgtype, stamp, data in messages:
            writer.write(topic, data, stamp, msgtype=msgtype)

    def decode(message: RawMessage) -> Any:
        nonlocal damaged
        if rng.random() > share:
            return DECODE(message)
        damaged += 1
        return damage(rng, message)

    monkeypatch.setattr(RawMessage, "decode", decode)
    while damaged < count:
        share = rng.choice([0.05, 0.3, 0.9])
        outcomes.read(tmp_path / "bag", f"after {damaged} messages")
    for outcome in ("frames", "dropped", "camera", "message"):
        assert any(name.startswith(outcome) for name in outcomes.counts), outcomes.counts


@pytest.mark.parametrize("count", BAGS)
@pytest.mark.parametrize("kind", ["mcap", "sqlite3", "ros1"])
def test_damaged_bags(tmp_path: Path, messages: list, kind: str, count: int) -> None:
    rng, outcomes = np.random.default_rng(3), Outcomes()
    whole = tmp_path / "whole"
    if kind == "ros1":
        whole = write_ros1(tmp_path / "whole.bag", messages)
        files = {whole: whole.read_bytes()}
    else:
        with BagWriter(whole, kind) as writer:  # type: ignore[arg-type]
            for topic, msgtype, stamp, data in messages:
                writer.write(topic, data, stamp, msgtype=msgtype)
        files = {path: path.read_bytes() for path in sorted(whole.iterdir())}
    for number in range(count):
        chosen = list(files)[int(rng.integers(0, len(files)))]
        for path, content in files.items():
            path.write_bytes(damaged_bytes(rng, content) if path == chosen else content)
        outcomes.read(whole, f"bag {number}")
        try:
            bag_info(whole, config())
        except SamAdaptError:
            outcomes.counts["info refused"] += 1
    assert outcomes.counts["BagError"]
    assert outcomes.counts["frames"] or count < 100


def write_ros1(path: Path, messages: list) -> Path:
    ros1, ros2 = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.ROS2_JAZZY)
    ros1.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage"))
    with Rosbag1Writer(path) as writer:
        connections: dict[str, Any] = {}
        for topic, msgtype, stamp, data in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, msgtype, typestore=ros1)
            writer.write(connections[topic], stamp, ros2.cdr_to_ros1(data, msgtype))
    return path
