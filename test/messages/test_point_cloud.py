import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sam_adapt_ros.errors import MessageError
from sam_adapt_ros.messages import CloudData, encode_cloud, encode_labels, read_labels, read_points
from sam_adapt_ros.messages.point_cloud import intensity_of

FORMATS = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 8: "d"}


def slow_points(msg):
    """As sensor_msgs_py's read_points does it: one struct a value."""
    order = ">" if msg.is_bigendian else "<"
    where = {spec.name: (spec.offset, FORMATS[spec.datatype]) for spec in msg.fields}
    data = bytes(msg.data)
    rows = []
    for v in range(msg.height):
        for u in range(msg.width):
            start = v * msg.row_step + u * msg.point_step
            rows.append([struct.unpack_from(order + where[n][1], data, start + where[n][0])[0] for n in "xyz"])
    return np.array(rows, np.float64).reshape(-1, 3).astype(np.float32)


def points(count=7, seed=0):
    return np.random.default_rng(seed).normal(0, 30, (count, 3)).astype(np.float32)


def xyz(count=7):
    p = points(count)
    return encode_cloud({"x": p[:, 0], "y": p[:, 1], "z": p[:, 2]})


def refused(msg) -> MessageError:
    with pytest.raises(MessageError) as caught:
        read_points(msg)
    return caught.value


def test_a_plain_cloud_is_read_without_a_copy(ros):
    msg = ros.cloud(xyz())
    cloud = read_points(msg)
    assert_array_equal(cloud.points, points())
    assert cloud.points.dtype == np.float32
    assert np.shares_memory(cloud.points, np.frombuffer(msg.data, np.uint8))


def test_all_nuscenes_fields_survive(ros):
    p = points(100)
    intensity = np.arange(100, dtype=np.float32)
    ring = (np.arange(100) % 32).astype(np.uint16)
    data = encode_cloud({"x": p[:, 0], "y": p[:, 1], "z": p[:, 2], "intensity": intensity, "ring": ring})
    cloud = read_points(ros.cloud(data))
    assert_array_equal(cloud.points, p)
    assert cloud.points.flags.c_contiguous
    assert cloud.fields == ("x", "y", "z", "intensity", "ring")
    assert_array_equal(cloud.field("intensity"), intensity)
    assert_array_equal(cloud.field("ring"), ring)
    assert cloud.field("ring").dtype == np.uint16
    with pytest.raises(MessageError, match="no field time "):
        cloud.field("time")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_layout_equals_the_slow_reference(rosbags_messages, data):
    width, height = data.draw(st.integers(0, 5)), data.draw(st.integers(1, 3))
    order = data.draw(st.permutations(["x", "y", "z", "ring"]))
    offset, fields = 0, []
    for name in order:
        offset += data.draw(st.integers(0, 3))  # also unaligned
        datatype = 4 if name == "ring" else data.draw(st.sampled_from([7, 8]))
        fields.append((name, offset, datatype, 1))
        offset += {4: 2, 7: 4, 8: 8}[datatype]
    step = offset + data.draw(st.integers(0, 5))
    row_step = width * step + data.draw(st.integers(0, 9))
    bigendian = data.draw(st.booleans())
    raw = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 128, row_step * height).astype(np.uint8)
    msg = rosbags_messages.cloud(
        CloudData(raw, step, fields, width), height=height, row_step=row_step, is_bigendian=bigendian
    )
    cloud = read_points(msg)
    assert_array_equal(cloud.points, slow_points(msg))
    assert cloud.points.dtype == np.dtype(np.float32) and cloud.points.dtype.isnative
    assert len(cloud.field("ring")) == width * height
    assert cloud.field("ring").dtype.isnative


def test_an_organized_cloud_with_padded_rows_is_flattened_row_by_row(ros):
    p = points(6)
    rows = [p[row * 3 : row * 3 + 3].tobytes() + b"\xff" * 8 for row in range(2)]
    data = xyz(6)
    msg = ros.cloud(data, data=b"".join(rows), height=2, width=3, row_step=3 * 12 + 8)
    assert_array_equal(read_points(msg).points, p)


def test_big_endian_and_float64(ros):
    p = points()
    fields = [("x", 0, 8, 1), ("y", 8, 8, 1), ("z", 16, 8, 1)]
    data = CloudData(np.frombuffer(p.astype(">f8").tobytes(), np.uint8), 24, fields, len(p))
    assert_array_equal(read_points(ros.cloud(data, is_bigendian=True)).points, p)


def test_non_finite_points_stay(ros):
    p = points()
    p[1], p[2, 0] = np.nan, np.inf
    data = encode_cloud({"x": p[:, 0], "y": p[:, 1], "z": p[:, 2]})
    assert_array_equal(read_points(ros.cloud(data)).points, p)


def test_no_points(ros):
    assert read_points(ros.cloud(xyz(0))).points.shape == (0, 3)
    nothing = CloudData(np.empty(0, np.uint8), 0, xyz().fields, 0)  # drivers leave point_step at 0 then
    assert read_points(ros.cloud(nothing)).points.shape == (0, 3)


@pytest.mark.parametrize("missing", ["x", "y", "z"])
def test_a_missing_coordinate_is_named(ros, missing):
    p = points()
    kept = {name: p[:, i] for i, name in enumerate("xyz") if name != missing}
    error = refused(ros.cloud(encode_cloud(kept | {"intensity": p[:, 0]})))
    assert error.reason == "cloud_fields" and f"no field {missing} " in str(error) and "intensity" in str(error)


def test_integer_coordinates_are_refused(ros):
    data = encode_cloud({name: np.zeros(3, np.int16) for name in "xyz"})
    error = refused(ros.cloud(data))
    assert error.reason == "cloud_fields" and "int16" in str(error)


@pytest.mark.parametrize("height", [1, 7])
@pytest.mark.parametrize("row_step", [0, 10, 84, 1000, 2**32 - 1])
def test_data_of_exactly_all_points_needs_no_row_step(ros, height, row_step):
    """Drivers leave it at 0, set it to the whole cloud's size, or forget it when they crop."""
    msg = ros.cloud(xyz(), height=height, width=7 // height, row_step=row_step)
    assert_array_equal(read_points(msg).points, points())


def test_the_last_row_may_lack_its_padding(ros):
    p = points(6)
    data = p[:3].tobytes() + b"\xff" * 8 + p[3:].tobytes()
    assert_array_equal(read_points(ros.cloud(xyz(6), data=data, height=2, width=3, row_step=44)).points, p)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"point_step": 0}, "point_step"),
        ({"point_step": 8, "row_step": 56, "data": bytes(56)}, "field z: bytes beyond point_step"),
        ({"point_step": 16}, "112 bytes (width x height x point_step) expected"),
        ({"data": bytes(83)}, "84 bytes (width x height x point_step) expected, or rows of row_step = 84, got 83"),
        ({"data": bytes(85)}, "got 85"),
        ({"data": b""}, "got 0"),
        ({"width": 8}, "96 bytes"),
        ({"height": 2}, "168 bytes"),
        ({"height": 2, "width": 3, "row_step": 10}, "row_step = 10"),
        ({"fields": [("x", 0, 9, 1), ("y", 4, 7, 1), ("z", 8, 7, 1)]}, "field x: unknown datatype 9"),
        ({"fields": [("x", 0, 7, 1), ("y", 4, 7, 1), ("z", 4000000000, 7, 1)]}, "beyond point_step"),
    ],
)
def test_contradictory_layouts_are_refused(ros, changes, text):
    error = refused(ros.cloud(xyz(), **changes))
    assert error.reason == "cloud_layout" and text in str(error)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (("odd", 0, 0, 1), "unknown datatype 0"),
        (("odd", 0, 200, 1), "unknown datatype 200"),
        (("odd", 12, 7, 1), "bytes beyond point_step"),
        (("odd", 0, 7, 2**32 - 1), "bytes beyond point_step"),
    ],
)
def test_an_unused_field_may_be_anything(ros, field, text):
    """Only who asks for it learns that it cannot be read."""
    cloud = read_points(ros.cloud(xyz(), fields=[*xyz().fields, field]))
    assert_array_equal(cloud.points, points())
    assert cloud.fields == ("x", "y", "z")
    with pytest.raises(MessageError, match=f"field odd: {text}") as caught:
        cloud.field("odd")
    assert caught.value.reason == "cloud_layout"


def test_coordinates_keep_their_precision_where_they_have_it(ros):
    p = points().astype(np.float64) + np.array([500_000.0, 5_400_000.0, 100.0])
    data = encode_cloud({"x": p[:, 0], "y": p[:, 1], "z": p[:, 2]})
    assert_array_equal(read_points(ros.cloud(data)).exact_points(), p)
    assert_array_equal(read_points(ros.cloud(xyz())).exact_points(), points())


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_layouts_never_read_beyond_the_message(rosbags_messages, data):
    number = st.one_of(st.integers(0, 40), st.just(2**32 - 1))
    fields = [
        (name, data.draw(number), data.draw(st.integers(0, 10)), data.draw(number)) for name in ("x", "y", "z", "ring")
    ]
    msg = rosbags_messages.cloud(
        CloudData(np.zeros(data.draw(st.integers(0, 200)), np.uint8), data.draw(number), fields, data.draw(number)),
        height=data.draw(number),
        row_step=data.draw(number),
    )
    try:
        cloud = read_points(msg)
    except MessageError:
        return
    assert cloud.points.shape == (msg.width * msg.height, 3)
    cloud.field("ring")


def test_labels_are_laid_out_as_promised_and_read_back(ros):
    p, count = points(50), 50
    class_id = np.arange(count, dtype=np.uint8)
    class_id[-1] = 255
    probability = np.linspace(0, 1, count).astype(np.float32)
    colors = np.random.default_rng(1).integers(0, 256, (256, 3)).astype(np.uint8)
    data = encode_labels(p, class_id, probability, colors)
    assert [spec[0] for spec in data.fields] == ["x", "y", "z", "rgb", "class_id", "probability"]
    msg = ros.cloud(data)
    got_points, got_class, got_probability = read_labels(msg)
    assert_array_equal(got_points, p)
    assert_array_equal(got_class, class_id)
    assert got_class.dtype == np.uint8
    assert_array_equal(got_probability, probability)
    rgb = read_points(msg).field("rgb")
    assert rgb.dtype == np.float32
    bits = rgb.view(np.uint32)
    assert_array_equal(np.stack([bits >> 16, bits >> 8 & 255, bits & 255], 1), colors[class_id])
    assert not (bits >> 24).any()


def test_labels_equal_the_slow_reference():
    p, class_id = points(20), np.arange(20, dtype=np.uint8)
    probability = np.linspace(0, 1, 20).astype(np.float32)
    colors = np.random.default_rng(1).integers(0, 256, (256, 3)).astype(np.uint8)
    expected = b""
    for row, c, q in zip(p, class_id, probability, strict=True):
        r, g, b = colors[c]
        expected += struct.pack("<3f4B", *row, b, g, r, 0) + struct.pack("<Bxxxf", c, q)
    assert encode_labels(p, class_id, probability, colors).data.tobytes() == expected


def test_labels_without_class_id_or_probability(ros):
    p = points()
    with pytest.raises(MessageError, match="class_id"):
        read_labels(ros.cloud(xyz()))
    fields = {"x": p[:, 0], "y": p[:, 1], "z": p[:, 2]}
    with pytest.raises(MessageError, match=f"class_id: whole numbers expected, got {p[0, 0]}"):
        read_labels(ros.cloud(encode_cloud(fields | {"class_id": p[:, 0]})))
    _, class_id, probability = read_labels(
        ros.cloud(encode_cloud(fields | {"class_id": np.arange(7, dtype=np.uint16)}))
    )
    assert probability is None
    assert_array_equal(class_id, np.arange(7))


@pytest.mark.parametrize("name", ["class_id", "label"])
@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_class_ids_may_be_of_any_type_that_holds_them(ros, name, kind):
    p, ids = points(), np.arange(7).astype(kind)
    fields = {"x": p[:, 0], "y": p[:, 1], "z": p[:, 2], name: ids}
    _, class_id, _ = read_labels(ros.cloud(encode_cloud(fields)))
    assert class_id.dtype.kind in "iu"
    assert_array_equal(class_id, np.arange(7))
    if kind in ("f4", "f8"):
        ids[2] = np.nan
        assert_array_equal(read_labels(ros.cloud(encode_cloud(fields | {name: ids})))[1], [0, 1, -1, 3, 4, 5, 6])


def test_no_labels(ros):
    data = encode_labels(np.empty((0, 3), np.float32), np.empty(0, np.uint8), 0.0, np.zeros((256, 3), np.uint8))
    assert len(data.data) == 0
    got_points, class_id, probability = read_labels(ros.cloud(data))
    assert got_points.shape == (0, 3) and len(class_id) == len(probability) == 0


def test_clouds_that_cannot_be_encoded():
    with pytest.raises(ValueError, match="one length"):
        encode_cloud({"x": np.zeros(3, np.float32), "y": np.zeros(4, np.float32)})
    with pytest.raises(ValueError, match="int64"):
        encode_cloud({"x": np.zeros(3, np.int64)})


def test_a_real_sweep_survives(real_data, ros):
    file = next((real_data / "nuscenes_keyframe/samples/LIDAR_TOP").iterdir())
    x, y, z, intensity, ring = np.fromfile(file, np.float32).reshape(-1, 5).T
    data = encode_cloud({"x": x, "y": y, "z": z, "intensity": intensity, "ring": ring.astype(np.uint16)})
    cloud = read_points(ros.cloud(data))
    assert len(cloud) == 34_688
    assert_array_equal(cloud.points, np.stack([x, y, z], 1))
    assert_array_equal(cloud.field("ring"), ring)


@pytest.mark.parametrize("name", ["intensity", "reflectivity", "remission", "reflectance"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
def test_the_strength_of_the_returns(ros, name, kind):
    strength = np.arange(40).astype(kind)
    axes = {axis: np.ones(40, np.float32) for axis in "xyz"}
    cloud = read_points(ros.cloud(encode_cloud({**axes, name: strength})))
    assert cloud.intensity.dtype == np.float32
    np.testing.assert_array_equal(cloud.intensity, strength)
    assert read_points(ros.cloud(encode_cloud(axes))).intensity is None


def test_the_first_name_of_the_strength_counts_and_one_of_several_numbers_does_not():
    assert intensity_of({"reflectivity": np.ones(3), "intensity": np.zeros(3)}).tolist() == [0, 0, 0]
    assert intensity_of({"intensity": np.zeros((3, 2))}) is None
