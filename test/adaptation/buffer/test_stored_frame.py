import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from buffer_support import assert_same_frame, make_frame

from sam_adapt_ros.adaptation.buffer.stored_frame import ImageStorage, StoredFrame
from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.frame import Frame


@pytest.mark.parametrize(("storage", "tolerance"), [(ImageStorage("png"), 0), (ImageStorage("jpeg", 95), 12)])
@pytest.mark.parametrize("views", [0, 1, 3])
def test_a_stored_frame_comes_back_as_it_was(tmp_path, storage, tolerance, views):
    frame = make_frame(3, (1.5, -2.5), views=views)
    stored = StoredFrame.encode(frame, storage)
    assert_same_frame(stored.decode(), frame, tolerance)
    stored.save(tmp_path / "frame.npz")
    loaded = StoredFrame.load(tmp_path / "frame.npz")
    assert_same_frame(loaded.decode(), stored.decode())
    assert loaded.nbytes == stored.nbytes >= frame.points.nbytes


def test_what_a_frame_lacks_it_lacks_when_it_comes_back(tmp_path):
    bare = Frame(5, "lidar", np.zeros((0, 3), np.float32))
    stored = StoredFrame.encode(bare, ImageStorage())
    stored.save(tmp_path / "frame.npz")
    assert_same_frame(StoredFrame.load(tmp_path / "frame.npz").decode(), bare)


def test_points_that_are_not_finite_are_left_out_with_their_labels():
    frame = make_frame(1)
    frame.points[[0, 7]] = np.nan
    frame.points[9, 2] = np.inf
    keep = np.setdiff1d(np.arange(50), [0, 7, 9])
    decoded = StoredFrame.encode(frame, ImageStorage()).decode()
    np.testing.assert_array_equal(decoded.points, frame.points[keep])
    np.testing.assert_array_equal(decoded.ground_truth, frame.ground_truth[keep])


def test_the_frame_given_may_be_overwritten_later():
    frame = make_frame(1)
    stored = StoredFrame.encode(frame, ImageStorage("png"))
    before = stored.decode().points.copy()
    frame.points[:] = 0
    frame.T_odom_lidar[:] = 0
    np.testing.assert_array_equal(stored.decode().points, before)
    assert stored.decode().T_odom_lidar[3, 3] == 1


def test_high_images_are_scaled_with_their_intrinsics():
    frame = make_frame(1, height=48, width=64)
    view = StoredFrame.encode(frame, ImageStorage("png", max_height=24)).decode().views[0]
    assert view.image.shape == (24, 32, 3)
    assert view.instances.shape == (24, 32)
    assert set(np.unique(view.instances)) <= set(np.unique(frame.views[0].instances))
    points = np.random.default_rng(0).normal((0, 0, 10), 1, (100, 3))
    uv, _, valid = frame.views[0].camera.project(points)
    scaled, _, still = view.camera.project(points)
    np.testing.assert_allclose(scaled[valid & still], (uv[valid & still] + 0.5) / 2 - 0.5, atol=1e-4)


def test_damaged_frame_files_are_named(tmp_path):
    path = tmp_path / "frame.npz"
    StoredFrame.encode(make_frame(1), ImageStorage()).save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for length in [0, 1, *rng.integers(2, len(whole) - 1, 30).tolist()]:
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match=r"frame\.npz") as error:
            StoredFrame.load(path)
        assert error.value.reason == "damaged"
    for _ in range(60):
        spoiled = bytearray(whole)
        spoiled[rng.integers(len(whole))] ^= 0xFF
        path.write_bytes(spoiled)
        try:
            StoredFrame.load(path)
        except StoreError as error:
            assert error.reason == "damaged"


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("/tmp/unpickled",))


def test_nothing_is_ever_unpickled(tmp_path):
    np.savez(tmp_path / "frame.npz", points=np.array([Bomb()], object), facts=np.zeros(2, np.uint8))
    with pytest.raises(StoreError, match="allow_pickle"):
        StoredFrame.load(tmp_path / "frame.npz")
    assert not Path("/tmp/unpickled").exists()


def test_intensity_is_kept_with_its_points(tmp_path):
    frame = dataclasses.replace(make_frame(1), intensity=np.arange(50, dtype=np.float32))
    frame.points[[0, 7]] = np.nan
    stored = StoredFrame.encode(frame, ImageStorage())
    stored.save(tmp_path / "frame.npz")
    frame.intensity[:] = 0
    kept = np.setdiff1d(np.arange(50), [0, 7]).astype(np.float32)
    np.testing.assert_array_equal(StoredFrame.load(tmp_path / "frame.npz").decode().intensity, kept)
    without = StoredFrame.encode(dataclasses.replace(frame, intensity=None), ImageStorage())
    assert without.decode().intensity is None and stored.nbytes - without.nbytes == kept.nbytes
