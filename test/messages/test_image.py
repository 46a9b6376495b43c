import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sam_adapt_ros.errors import MessageError
from sam_adapt_ros.messages import decode_image, decode_instances

WIDTH, HEIGHT = 8, 6


def picture(height=HEIGHT, width=WIDTH) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3)).astype(np.uint8)


def smooth(height=48, width=64) -> np.ndarray:
    v, u = np.mgrid[:height, :width]
    return np.stack([u * 3 + 20, v * 4 + 10, 200 - u - v], -1).astype(np.uint8)


def grey_of(pixels):
    return np.repeat(pixels[:, :, None], 3, 2)


ALPHA = np.full((HEIGHT, WIDTH, 1), 7, np.uint8)
RGB = picture()
BGR = np.ascontiguousarray(RGB[:, :, ::-1])
GREY = RGB[:, :, 0].copy()
GREY16 = (GREY.astype(np.uint16) << 8) | 0x5A


@pytest.mark.parametrize(
    ("encoding", "sent", "expected"),
    [
        ("rgb8", RGB, RGB),
        ("bgr8", BGR, RGB),
        ("RGB8", RGB, RGB),
        ("rgba8", np.concatenate([RGB, ALPHA], 2), RGB),
        ("bgra8", np.concatenate([BGR, ALPHA], 2), RGB),
        ("mono8", GREY, grey_of(GREY)),
        ("mono16", GREY16, grey_of(GREY)),
        ("8UC1", GREY, grey_of(GREY)),
        ("8UC3", BGR, RGB),
        ("8UC4", np.concatenate([BGR, ALPHA], 2), RGB),
        ("16UC1", GREY16, grey_of(GREY)),
        ("rgb16", (RGB.astype(np.uint16) << 8) | 0x5A, RGB),
        ("bgr16", (BGR.astype(np.uint16) << 8) | 0x5A, RGB),
        ("rgba16", np.concatenate([RGB, ALPHA], 2).astype(np.uint16) << 8, RGB),
        ("bgra16", np.concatenate([BGR, ALPHA], 2).astype(np.uint16) << 8, RGB),
    ],
)
@pytest.mark.parametrize("padding", [0, 5])
def test_plain_encodings(ros, encoding, sent, expected, padding):
    rows = [row.tobytes() + b"\xee" * padding for row in sent]
    got = decode_image(ros.image(sent, encoding, data=b"".join(rows), step=len(rows[0])))
    assert_array_equal(got, expected)
    assert got.dtype == np.uint8 and got.flags.c_contiguous


@pytest.mark.parametrize("step", [0, 8, 24 * HEIGHT, 1000])
def test_without_padding_the_step_says_nothing(ros, step):
    assert_array_equal(decode_image(ros.image(RGB, "rgb8", step=step)), RGB)


def test_rgb8_is_not_copied(ros):
    msg = ros.image(RGB, "rgb8")
    assert np.shares_memory(decode_image(msg), np.frombuffer(msg.data, np.uint8))


def test_big_endian_16_bits(ros):
    assert_array_equal(decode_image(ros.image(GREY16.byteswap(), "mono16", is_bigendian=1)), grey_of(GREY))


def bt601(y, u, v):
    """ITU-R BT.601 with limited range, which is what cameras send."""
    y, u, v = 1.164 * (y - 16.0), u - 128.0, v - 128.0
    return np.clip(np.stack([y + 1.596 * v, y - 0.813 * v - 0.391 * u, y + 2.018 * u], -1), 0, 255)


def yuv(height=HEIGHT, width=WIDTH):
    rng = np.random.default_rng(5)
    y = rng.integers(16, 236, (height, width))
    u, v = rng.integers(90, 160, (2, height, width // 2))
    return y.astype(np.uint8), u.astype(np.uint8), v.astype(np.uint8)


@pytest.mark.parametrize(("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv")])
@pytest.mark.parametrize("padding", [0, 4])
def test_yuv422(ros, encoding, order, padding):
    y, u, v = yuv()
    sent = np.empty((HEIGHT, WIDTH // 2, 4), np.uint8)
    planes = {"u": [u], "v": [v], "y": [y[:, ::2], y[:, 1::2]]}
    for place, name in enumerate(order):
        sent[:, :, place] = planes[name].pop(0)
    rows = [row.tobytes() + bytes(padding) for row in sent]
    step = 2 * WIDTH + padding
    got = decode_image(ros.image(sent, encoding, data=b"".join(rows), step=step, width=WIDTH))
    expected = bt601(y, np.repeat(u, 2, 1), np.repeat(v, 2, 1))
    assert np.abs(got - expected).max() <= 2


@pytest.mark.parametrize("padding", [0, 4])
def test_nv12(ros, padding):
    y, u, v = yuv()
    u, v = u[::2], v[::2]
    chroma = np.stack([u, v], -1).reshape(HEIGHT // 2, WIDTH)
    rows = [row.tobytes() + bytes(padding) for row in np.concatenate([y, chroma])]
    got = decode_image(ros.image(y, "nv12", data=b"".join(rows), step=WIDTH + padding))
    expected = bt601(y, u.repeat(2, 0).repeat(2, 1), v.repeat(2, 0).repeat(2, 1))
    assert np.abs(got - expected).max() <= 2


@pytest.mark.parametrize(("encoding", "order"), [("i420", "uv"), ("yv12", "vu"), ("I420", "uv")])
@pytest.mark.parametrize("padding", [0, 4])
def test_planes_of_luma_and_both_chromas(ros, encoding, order, padding):
    """A padded plane's chroma rows are half as long as its luma rows, padding included."""
    y, u, v = yuv()
    planes = {"u": u[::2], "v": v[::2]}
    rows = [row.tobytes() + bytes(padding) for row in y]
    rows += [row.tobytes() + bytes(padding // 2) for name in order for row in planes[name]]
    got = decode_image(ros.image(y, encoding, data=b"".join(rows), step=WIDTH + padding))
    expected = bt601(y, planes["u"].repeat(2, 0).repeat(2, 1), planes["v"].repeat(2, 0).repeat(2, 1))
    assert np.abs(got - expected).max() <= 2


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("width", [WIDTH, WIDTH - 1])
def test_nv24(ros, padding, width):
    """Chroma at luma's resolution, so that sizes may be odd."""
    rng = np.random.default_rng(5)
    y, u, v = rng.integers(16, 236, (HEIGHT, width)), *rng.integers(90, 160, (2, HEIGHT, width))
    y = y.astype(np.uint8)
    rows = [row.tobytes() + bytes(padding) for row in y]
    rows += [row.tobytes() + bytes(2 * padding) for row in np.stack([u, v], -1).astype(np.uint8)]
    got = decode_image(ros.image(y, "nv24", data=b"".join(rows), step=width + padding))
    assert got.shape == (HEIGHT, width, 3) and got.dtype == np.uint8
    assert np.abs(got - bt601(y, u, v)).max() <= 2


def mosaic(rgb, pattern):
    sent = np.empty(rgb.shape[:2], np.uint8)
    for place, color in enumerate(pattern):
        v, u = divmod(place, 2)
        sent[v::2, u::2] = rgb[v::2, u::2, "rgb".index(color)]
    return sent


PATTERNS = ["rggb", "bggr", "gbrg", "grbg"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_bayer(ros, pattern):
    rgb = smooth(16, 24)
    sent = mosaic(rgb, pattern)
    sent16 = (sent.astype(np.uint16) << 8) | 0x5A
    for msg in (
        ros.image(sent, f"bayer_{pattern}8"),
        ros.image(sent16, f"bayer_{pattern}16"),
        ros.image(sent16.byteswap(), f"bayer_{pattern}16", is_bigendian=1),
    ):
        got = decode_image(msg)
        assert got.dtype == np.uint8 and np.abs(got.astype(int) - rgb)[2:-2, 2:-2].max() <= 3


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_compressed_mosaic_is_demosaiced(ros, pattern):
    """As image_transport compresses raw images of Bayer cameras; the format names the pattern."""
    rgb = smooth(48, 64)
    sent = mosaic(rgb, pattern)
    sent16 = (sent.astype(np.uint16) << 8) | 0x5A
    grey_jpeg = cv2.imencode(".jpg", sent, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    for data, image_format, tolerance in (
        (grey_jpeg, f"bayer_{pattern}8; jpeg compressed ", 8),
        (grey_jpeg, f"bayer_{pattern}16; jpeg compressed", 8),
        (png(sent), f"bayer_{pattern}8; png compressed ", 3),
        (png(sent16), f"bayer_{pattern}16; png compressed ", 3),
    ):
        got = decode_image(ros.compressed(data, image_format))
        assert got.shape == rgb.shape and got.dtype == np.uint8
        assert np.abs(got.astype(int) - rgb)[2:-2, 2:-2].max() <= tolerance, image_format


def test_colour_in_a_bayer_cameras_jpeg_stays_colour(ros):
    rgb = smooth()
    got = decode_image(ros.compressed(png(rgb[:, :, ::-1]), "bayer_rggb8; png compressed bgr8"))
    assert_array_equal(got, rgb)
    tiny = ros.compressed(png(GREY[:3, :3]), "bayer_rggb8; png compressed ")
    with pytest.raises(MessageError, match="at least 4 x 4"):
        decode_image(tiny)


@pytest.mark.parametrize("encoding", ["32FC1", "", "jpeg", "yuv444", "bayer_rggb12"])
def test_unknown_encodings_are_named(ros, encoding):
    with pytest.raises(MessageError, match="unknown encoding") as caught:
        decode_image(ros.image(RGB, encoding))
    assert caught.value.reason == "image_encoding" and repr(encoding) in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "changes"),
    [
        ("rgb8", {"step": 8, "data": bytes(145)}),
        ("rgb8", {"step": 0, "data": bytes(145)}),
        ("rgb8", {"data": bytes(100)}),
        ("rgb8", {"data": b""}),
        ("rgb8", {"width": 0, "data": b""}),
        ("rgb8", {"height": 0, "data": b""}),
        ("rgb8", {"height": 2**31}),
        ("yuv422", {"width": 7}),
        ("nv12", {"width": 7}),
        ("nv12", {}),
        ("nv24", {"data": bytes(100)}),
        ("i420", {}),
        ("i420", {"width": 7}),
        ("i420", {"step": 9, "data": bytes(81)}),
        ("bayer_rggb8", {"width": 1, "height": 1, "step": 1, "data": b"1"}),
    ],
)
def test_contradictory_sizes_are_refused(ros, encoding, changes):
    with pytest.raises(MessageError) as caught:
        decode_image(ros.image(RGB, encoding, **changes))
    assert caught.value.reason == "image_layout"


@settings(max_examples=150, deadline=None)
@given(
    encoding=st.sampled_from(["rgb8", "mono16", "yuv422", "nv12", "nv24", "i420", "bayer_grbg16", "bgra8"]),
    width=st.integers(0, 9),
    height=st.integers(0, 9),
    step=st.integers(0, 40),
    size=st.integers(0, 400),
)
def test_any_sizes_decode_or_are_refused(rosbags_messages, encoding, width, height, step, size):
    changes = {"width": width, "height": height, "step": step, "data": bytes(size)}
    try:
        got = decode_image(rosbags_messages.image(RGB, encoding, **changes))
    except MessageError:
        return
    assert got.shape == (height, width, 3)


def jpeg(rgb):
    return cv2.imencode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_jpeg_and_png(ros):
    rgb = smooth()
    got = decode_image(ros.compressed(jpeg(rgb)))
    assert got.shape == rgb.shape and np.abs(got.astype(int) - rgb).max() < 16
    assert_array_equal(decode_image(ros.compressed(png(rgb[:, :, ::-1]), "png")), rgb)
    assert_array_equal(decode_image(ros.compressed(png(rgb[:, :, ::-1]), "bgr8; jpeg compressed bgr8")), rgb)
    assert_array_equal(decode_image(ros.compressed(png(rgb[:, :, 0]), "png")), grey_of(rgb[:, :, 0]))


@pytest.mark.parametrize("padding", [bytes(100), bytes(1024), bytes(300_000), b"\xff" * 5000, bytes(range(256)) * 40])
def test_padding_after_the_end(ros, padding):
    """Drivers send buffers of a fixed size."""
    for data, kind in ((jpeg(smooth()), "jpeg"), (png(smooth()), "png")):
        assert_array_equal(decode_image(ros.compressed(data + padding, kind)), decode_image(ros.compressed(data, kind)))


def with_thumbnail(data):
    """A JPEG whose EXIF segment holds another whole JPEG."""
    thumbnail = jpeg(smooth(24, 32))
    return data[:2] + b"\xff\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + data[2:]


def test_the_end_of_a_thumbnail_is_not_the_end(ros):
    data = with_thumbnail(jpeg(picture(90, 120)))
    whole = decode_image(ros.compressed(data))
    assert_array_equal(whole, decode_image(ros.compressed(jpeg(picture(90, 120)))))
    for cut in (data[:-1], data[:-500], data[: len(data) // 2], data[:1200]):
        for padding in (b"", bytes(2000)):
            with pytest.raises(MessageError) as caught:
                decode_image(ros.compressed(cut + padding))
            assert caught.value.reason == "image_truncated"


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9, 0.99])
def test_truncated_images_are_refused(ros, kind, kept):
    rgb = picture(90, 120)
    data = jpeg(rgb) if kind == "jpeg" else png(rgb)
    with pytest.raises(MessageError) as caught:
        decode_image(ros.compressed(data[: int(len(data) * kept)], kind))
    assert caught.value.reason == "image_truncated" and kind.upper() in str(caught.value)


def test_a_real_jpeg_cut_anywhere_is_refused(real_data, ros):
    data = next((real_data / "nuscenes_keyframe/samples/CAM_FRONT").iterdir()).read_bytes()
    assert decode_image(ros.compressed(data)).shape == (900, 1600, 3)
    for size in np.random.default_rng(0).integers(4, len(data) - 1, 20):
        with pytest.raises(MessageError) as caught:
            decode_image(ros.compressed(data[:size]))
        assert caught.value.reason == "image_truncated"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "image_truncated"),
        (b"hello, this is no image", "image_encoding"),
        (b"\xff\xd8\xff\xd9", "image_damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 30 + b"IEND", "image_damaged"),
    ],
)
def test_what_is_no_image(ros, data, reason):
    with pytest.raises(MessageError) as caught:
        decode_image(ros.compressed(data))
    assert caught.value.reason == reason


def test_instances(ros):
    ids = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 20
    for msg in (ros.image(ids, "mono16"), ros.image(ids, "16UC1"), ros.compressed(png(ids), "png")):
        got = decode_instances(msg)
        assert got.dtype == np.uint16
        assert_array_equal(got, ids)
    small = ids.astype(np.uint8)
    assert_array_equal(decode_instances(ros.image(small, "mono8")), small)
    for msg in (ros.image(RGB, "rgb8"), ros.compressed(png(RGB), "png")):
        with pytest.raises(MessageError) as caught:
            decode_instances(msg)
        assert caught.value.reason == "image_encoding"
