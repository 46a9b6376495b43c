from __future__ import annotations

import numpy as np
from node_support import (
    SECOND,
    START_NS,
    T_BASE_CAMERA,
    T_BASE_LIDAR,
    camera_model,
    cloud_message,
    jpeg_message,
    random_points,
)

from sam_adapt_ros.config import Config
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.messages import (
    Calibration,
    CameraCalibration,
    FrameAssembler,
    TimeSynchronizer,
    read_labels,
    stamp_ns,
)
from sam_adapt_ros.nodes.segmenter.publishers import byte_array, label_cloud, overlay_image
from sam_adapt_ros.nodes.topics import topic_token
from sam_adapt_ros.taxonomy import Taxonomy


def test_label_cloud_and_names() -> None:
    taxonomy = Taxonomy.load("town")
    points = random_points(50)
    points[3] = np.nan
    class_id = np.arange(50, dtype=np.uint8) % len(taxonomy)
    message = label_cloud(Frame(START_NS + 5, "lidar", points), class_id, np.full(50, 0.5, np.float32), taxonomy)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == divmod(START_NS + 5, SECOND)
    assert message.row_step == message.point_step * message.width == len(message.data)
    assert not message.is_dense
    answered, classes, probability = read_labels(message)
    np.testing.assert_array_equal(answered, points)
    np.testing.assert_array_equal(classes, class_id)
    assert (probability == 0.5).all()
    assert byte_array(np.arange(3, dtype="<u2")).tobytes() == b"\0\0\1\0\2\0"
    assert topic_token("CAM_FRONT") == "CAM_FRONT"
    assert topic_token("front-left 2") == "front_left_2"
    assert topic_token("0") == "camera_0"


def test_an_overlay_has_the_header_of_its_image() -> None:
    """So that viewers find its camera: frame and stamp as the driver gave them, whatever the clocks' offset is."""
    offset = 0.25
    config = Config.from_flat(
        {"cameras.front.image": "/front", "cameras.front.time_offset": offset, "lidar.topic": "/points"}
    )
    assembler = FrameAssembler(config)
    camera = CameraCalibration("front_optical", T_BASE_CAMERA, camera_model())
    assembler.set_calibration(Calibration("lidar", "base_link", "odom", T_BASE_LIDAR, {"front": camera}))
    image = jpeg_message(
        START_NS + 7, np.zeros((camera.model.height, camera.model.width, 3), np.uint8), "front_optical"
    )
    frames = []
    synchronizer = TimeSynchronizer(
        {"front": offset},
        config.sync,
        lambda match: frames.append(assembler.assemble(match.stamp_ns, "lidar", match.sweep, match.images).frame),
        lambda *_: None,
    )
    sweep_ns = START_NS + 7 + round(offset * SECOND)
    synchronizer.add_image("front", stamp_ns(image.header), image, 0)
    synchronizer.add_sweep(sweep_ns, cloud_message(sweep_ns, random_points(50)), 0)
    (frame,) = frames
    labels = np.zeros(50, np.uint8)
    overlay = overlay_image(frame, frame.views[0], labels, Taxonomy.load("town"), offset)
    assert overlay.header == image.header
