from types import SimpleNamespace

import pytest
from rosbags.typesys import Stores, get_typestore

from sam_adapt_ros.messages import serialized_stamp_ns, stamp_ns

STORE = get_typestore(Stores.ROS2_JAZZY)
STAMP = 1_532_402_927_647_951_234


def header(stamp: int):
    time = STORE.types["builtin_interfaces/msg/Time"](*divmod(stamp, 1_000_000_000))
    return STORE.types["std_msgs/msg/Header"](time, "lidar")


def test_nanoseconds_keep_all_their_digits():
    assert stamp_ns(header(STAMP)) == STAMP
    assert stamp_ns(SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=0))) == 0


@pytest.mark.parametrize("little_endian", [True, False])
@pytest.mark.parametrize("stamp", [0, 1, STAMP, 4_000_000_000])
def test_the_stamp_of_a_serialized_message_is_the_decoded_ones(stamp: int, little_endian: bool):
    message = STORE.types["geometry_msgs/msg/PointStamped"](
        header(stamp), STORE.types["geometry_msgs/msg/Point"](1.0, 2.0, 3.0)
    )
    data = STORE.serialize_cdr(message, "geometry_msgs/msg/PointStamped", little_endian=little_endian)
    assert data[1] == int(little_endian)
    assert serialized_stamp_ns(data) == serialized_stamp_ns(bytes(data)) == stamp


@pytest.mark.parametrize("length", [0, 1, 11])
def test_data_that_end_before_the_stamp(length: int):
    with pytest.raises(ValueError, match=f"12 bytes, got {length}"):
        serialized_stamp_ns(bytes(length))
