import gc
import os
import shutil
import signal
import tempfile
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from buffer_support import CLASSES, drive, flat_summary, make_frame, make_summary, positions, small
from hypothesis import given, settings
from hypothesis import strategies as st
from store_weights import die_at

from sam_adapt_ros.adaptation import FrameBuffer, summarize
from sam_adapt_ros.adaptation.buffer.diversity import Cover, Entry, Traits
from sam_adapt_ros.adaptation.buffer.spatial_split import Places
from sam_adapt_ros.adaptation.buffer.stored_frame import ImageStorage, StoredFrame
from sam_adapt_ros.config import BufferConfig
from sam_adapt_ros.errors import StoreError
from sam_adapt_ros.frame import Frame

# One frame -----------------------------------------------------------------------------------------------------------


def assert_same_frame(a, b, image_tolerance=0):
    assert (a.stamp_ns, a.frame_id) == (b.stamp_ns, b.frame_id)
    np.testing.assert_array_equal(a.points, b.points)
    for name in ("ground_truth", "T_odom_lidar"):
        ours, theirs = getattr(a, name), getattr(b, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype
    assert len(a.views) == len(b.views)
    for ours, theirs in zip(a.views, b.views, strict=True):
        assert (ours.name, ours.stamp_ns) == (theirs.name, theirs.stamp_ns)
        assert ours.image.dtype == theirs.image.dtype == np.uint8
        assert np.abs(ours.image.astype(int) - theirs.image).max() <= image_tolerance
        np.testing.assert_array_equal(ours.T_camera_lidar, theirs.T_camera_lidar)
        np.testing.assert_array_equal(ours.camera.K, theirs.camera.K)
        assert (ours.camera.D, ours.camera.distortion) == (theirs.camera.D, theirs.camera.distortion)
        np.testing.assert_array_equal(ours.instances, theirs.instances)


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


# Places --------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    share=st.sampled_from([0.1, 0.2, 1 / 3, 0.5]),
    gap=st.sampled_from([0.0, 1.0, 4.0]),
    step=st.floats(0.3, 6),
)
def test_held_out_places_are_never_nearer_than_the_gap_to_what_is_learned_from(seed, share, gap, step):
    """On a walk that crosses its own path, each position asked about one after the other."""
    rng = np.random.default_rng(seed)
    headings = np.cumsum(rng.normal(0, 0.3, 300))
    walk = np.cumsum(step * np.stack([np.cos(headings), np.sin(headings)], 1), 0)
    places = Places(share, 10.0, gap, seed)
    kinds = [places.is_held_out(position) for position in walk]
    held_out = walk[[kind is True for kind in kinds]]
    learned = walk[[kind is False for kind in kinds]]
    if len(held_out) and len(learned):
        assert np.linalg.norm(held_out[:, None] - learned[None], axis=2).min() >= gap - 1e-9
    again = Places(share, 10.0, gap, seed)
    assert [again.is_held_out(position) for position in walk] == kinds


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.1, 10), (0.2, 20), (0.5, 50)])
def test_the_share_of_places_is_what_was_asked_for(share, expected):
    places = Places(share, 10.0, 0.0, seed=1)
    assert sum(bool(places.is_held_out(np.array([10.0 * i + 5, 0.0]))) for i in range(100)) == expected


def test_another_seed_holds_out_other_places():
    along = [np.array([10.0 * i + 5, 0.0]) for i in range(100)]
    chosen = [
        tuple(places.is_held_out(p) for p in along) for places in (Places(0.2, 10.0, 0.0, 1), Places(0.2, 10.0, 0.0, 2))
    ]
    assert chosen[0] != chosen[1]


# What is kept --------------------------------------------------------------------------------------------------------


def slow_cover(stream, config, limit):
    """The definition, word by word, in loops."""
    kept = []
    for traits in stream:
        kept.append(traits)
        if len(kept) <= limit:
            continue
        mean = sum(each.histogram for each in kept) / len(kept)
        newest = max(each.admitted for each in kept)
        worths = []
        for i, each in enumerate(kept):
            apart = []
            for j, other in enumerate(kept):
                if i != j:
                    place = min(np.linalg.norm(each.position - other.position) / config.distance_scale, 1)
                    look = config.novelty * np.linalg.norm(each.descriptor - other.descriptor)
                    apart.append(np.sqrt(place**2 + look**2))
            divergence = sum(h * np.log(h / m) for h, m in zip(each.histogram, mean, strict=True) if h > 0)
            worth = (np.mean(sorted(apart)[:2]) + 1e-6) * (1 + config.class_balance * max(divergence, 0))
            worths.append(worth * 0.5 ** ((newest - each.admitted) / config.half_life))
        del kept[int(np.argmin(worths))]
    return [each.admitted for each in kept]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), limit=st.integers(2, 6), half_life=st.sampled_from([5.0, 1000.0]))
def test_the_cover_keeps_what_its_definition_says(seed, limit, half_life):
    rng = np.random.default_rng(seed)
    config = BufferConfig(half_life=half_life)
    frame = StoredFrame.encode(make_frame(0), ImageStorage())
    stream = []
    for i in range(25):
        summary = make_summary(rng)
        stream.append(Traits(rng.uniform(0, 80, 2), summary.descriptor, summary.histogram, i))
    cover = Cover(config, limit, 10**9)
    for traits in stream:
        wanted = cover.wants(traits)
        assert cover.add(Entry(traits.admitted, frame, traits)) == wanted
    assert [entry.key for entry in cover.entries] == slow_cover(stream, config, limit)
    assert cover.nbytes == len(cover.entries) * frame.nbytes


def test_a_standing_vehicle_adds_nothing():
    buffer = FrameBuffer(small())
    said = [buffer.add(make_frame(i, (5.0, 5.0)), flat_summary()) for i in range(50)]
    assert said == [True] + [False] * 49
    assert buffer.counts == {"kept": 1, "standing": 49}


def test_the_whole_drive_is_covered_instead_of_its_end():
    buffer = FrameBuffer(small(half_life=0, held_out=0))
    for i in range(200):
        buffer.add(make_frame(i, (2.0 * i, 0.0)), flat_summary())
    x = np.sort(positions(buffer.training())[:, 0])
    assert len(x) == 20
    assert x[0] < 40
    assert x[-1] > 360
    assert np.diff(x).max() < 80


def test_rare_classes_and_new_looks_stay():
    buffer = FrameBuffer(small(half_life=0, held_out=0, distance_scale=1000.0))
    rare = {30, 90, 150}
    for i in range(200):
        buffer.add(make_frame(i, (2.0 * i, 0.0)), flat_summary((0.5, 0, 0, 0.5) if i in rare else (1, 0, 0, 0)))
    kept = {round(x / 2) for x in positions(buffer.training())[:, 0]}
    assert rare <= kept
    assert buffer.training().histogram[3] == pytest.approx(3 * 0.5 / 20)


def test_the_old_fades():
    config = small(half_life=20.0, held_out=0)
    buffer = FrameBuffer(config)
    drive(buffer, 300)
    assert positions(buffer.training())[:, 0].mean() > 0.8 * 600


def test_held_out_frames_are_apart_from_training_on_every_lap():
    buffer = FrameBuffer(small(max_frames=60))
    trained, kept_apart = {}, {}
    for lap in range(3):
        for i in range(80):
            angle = 2 * np.pi * i / 80 + 0.013 * lap
            position = (40 * np.cos(angle), 40 * np.sin(angle))
            buffer.add(make_frame(lap * 80 + i, position), make_summary(np.random.default_rng(i)))
            # Whatever was ever offered to learn from counts, not only what is left.
            trained |= dict(zip(buffer.training().keys, positions(buffer.training()), strict=True))
            kept_apart |= dict(zip(buffer.held_out().keys, positions(buffer.held_out()), strict=True))
    assert len(kept_apart) > 10
    gaps = np.linalg.norm(np.array([*trained.values()])[:, None] - np.array([*kept_apart.values()]), axis=2)
    assert gaps.min() >= 2.0
    assert not trained.keys() & kept_apart.keys()


def test_the_split_is_the_seeds():
    def split(seed):
        buffer = FrameBuffer(small(max_frames=200, seed=seed))
        drive(buffer, 100)
        return buffer.training().keys, buffer.held_out().keys

    assert split(1) == split(1)
    assert split(1) != split(2)


def test_odometry_that_comes_and_goes_or_is_not_finite():
    buffer = FrameBuffer(small(max_frames=100))
    for i in range(60):
        frame = make_frame(i, (2.0 * i, 0.0), odometry=i % 3 != 0)
        if i % 5 == 0 and frame.T_odom_lidar is not None:
            frame.T_odom_lidar[0, 3] = np.nan
        buffer.add(frame, make_summary(np.random.default_rng(i)))
    assert len(buffer) > 10
    assert np.isfinite(buffer.distance_driven)


def test_clear_forgets_frames_but_not_what_was_held_out():
    buffer = FrameBuffer(small(max_frames=200))
    drive(buffer, 100)
    before = positions(buffer.training()), positions(buffer.held_out())
    keys = set(buffer.training().keys) | set(buffer.held_out().keys)
    buffer.clear()
    assert len(buffer) == 0
    assert buffer.nbytes == 0
    drive(buffer, 100)
    np.testing.assert_array_equal(before[0], positions(buffer.training()))
    np.testing.assert_array_equal(before[1], positions(buffer.held_out()))
    assert not keys & set(buffer.training().keys)


# Limits --------------------------------------------------------------------------------------------------------------


def test_frames_and_bytes_stay_within_their_limits():
    one = StoredFrame.encode(make_frame(0), ImageStorage()).nbytes
    by_bytes = FrameBuffer(small(max_megabytes=12.5 * one / 1e6, max_frames=1000))
    by_count = FrameBuffer(small(max_frames=7))
    for i in range(150):
        summary = make_summary(np.random.default_rng(i))
        for buffer in (by_bytes, by_count):
            buffer.add(make_frame(i, (2.0 * i, 0.0)), summary)
            assert buffer.nbytes <= buffer.config.max_megabytes * 1e6
            assert len(buffer) <= buffer.config.max_frames
            assert buffer.nbytes == sum(e.frame.nbytes for c in buffer._covers.values() for e in c.entries)
    assert len(by_bytes.training()) >= 8
    assert len(by_bytes.held_out()) >= 1
    assert len(by_count) == 7


def test_a_frame_larger_than_the_limit_is_refused_and_costs_none():
    buffer = FrameBuffer(small(max_megabytes=0.05, held_out=0))
    assert buffer.add(make_frame(0, (0, 0)), flat_summary())
    assert not buffer.add(make_frame(1, (2, 0), points=10_000), flat_summary())
    assert buffer.counts == {"kept": 1, "too_large": 1}
    assert len(buffer) == 1


def test_memory_is_flat_over_twenty_rounds():
    tracemalloc.start()  # first, so that frames which are replaced are counted as well
    buffer = FrameBuffer(small(max_frames=10))
    drive(buffer, 60, points=2000)
    sizes = []
    for number in range(1, 21):
        drive(buffer, 12, start=60 * number, points=2000)
        for sequence in (buffer.training(), buffer.held_out()):
            for frame in sequence:
                assert len(frame.points) == 2000
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    # Less than one frame: all that grows is the memory of places, 100 bytes a block driven through.
    assert max(sizes[5:]) - sizes[4] < 24_000


def test_frames_are_added_while_others_learn():
    buffer = FrameBuffer(small(max_frames=10))
    drive(buffer, 30)
    failures = []

    def learn():
        try:
            for _ in range(40):
                sequence = buffer.training()
                keys = sequence.keys
                assert [frame.stamp_ns for frame in sequence] == [sequence[i].stamp_ns for i in range(len(keys))]
                assert len(sequence[1:3]) == 2
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=learn) for _ in range(2)]
    for thread in threads:
        thread.start()
    drive(buffer, 150, start=30)
    for thread in threads:
        thread.join()
    assert not failures


def test_a_summary_tells_frames_apart_by_classes_and_by_colours():
    def labels(*values):
        return np.array(values, np.uint8)

    frame = make_frame(0, views=2)
    a = summarize(frame, labels(0, 0, 1, 255), CLASSES)
    np.testing.assert_allclose(a.histogram, [2 / 3, 1 / 3, 0, 0])
    other = summarize(frame, labels(3, 3, 3), CLASSES)
    assert np.linalg.norm(a.descriptor - other.descriptor) == pytest.approx(1)
    for view in frame.views:
        view.image[:] = 0
    dark = summarize(frame, labels(0, 0, 1), CLASSES)
    assert 0.1 < np.linalg.norm(a.descriptor - dark.descriptor) <= 1
    nothing = summarize(make_frame(0, views=0), labels(255), CLASSES)
    assert not nothing.histogram.any()
    assert np.isfinite(nothing.descriptor).all()
    assert len(nothing.descriptor) == len(a.descriptor)


# State ---------------------------------------------------------------------------------------------------------------


def assert_same_buffer(a, b):
    assert a.counts == b.counts
    assert a.distance_driven == b.distance_driven
    for ours, theirs in ((a.training(), b.training()), (a.held_out(), b.held_out())):
        assert ours.keys == theirs.keys
        for left, right in zip(ours, theirs, strict=True):
            assert_same_frame(left, right)


@pytest.mark.parametrize("first", [0, 1, 37])
def test_a_resumed_buffer_goes_on_as_one_that_was_never_stopped(tmp_path, first):
    whole, stopped = FrameBuffer(small()), FrameBuffer(small())
    drive(whole, first)
    drive(stopped, first)
    stopped.save(tmp_path)
    resumed = FrameBuffer.load(tmp_path, small())
    assert_same_buffer(whole, resumed)
    drive(whole, 60, start=first)
    drive(resumed, 60, start=first)
    assert_same_buffer(whole, resumed)
    resumed.save(tmp_path)
    assert_same_buffer(whole, FrameBuffer.load(tmp_path, small()))
    assert len(list(tmp_path.iterdir())) == len(whole) + 1


def test_saving_again_writes_only_what_is_new(tmp_path):
    buffer = FrameBuffer(small(max_frames=100))
    drive(buffer, 20)
    buffer.save(tmp_path)
    before = {path.name: path.stat().st_ino for path in tmp_path.glob("frame-*")}
    drive(buffer, 5, start=20)
    buffer.save(tmp_path)
    after = {path.name: path.stat().st_ino for path in tmp_path.glob("frame-*")}
    assert before.items() <= after.items()
    assert len(after) == len(buffer) > len(before)


def test_a_kill_at_every_step_of_saving_leaves_the_old_state_or_the_new(tmp_path):
    old = FrameBuffer(small(max_frames=4))
    drive(old, 20)
    new = FrameBuffer(small(max_frames=4))
    drive(new, 40)
    for kills in range(1, 200):
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            old.save(folder)
            running = FrameBuffer.load(folder, small(max_frames=4))
            drive(running, 20, start=20)
            child = os.fork()
            if child == 0:
                die_at(kills)
                running.save(folder)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            resumed = FrameBuffer.load(folder, small(max_frames=4))
            assert resumed.counts in (old.counts, new.counts)
            assert_same_buffer(resumed, old if resumed.counts == old.counts else new)
            resumed.save(folder)
            assert len(list(Path(folder).iterdir())) == len(resumed) + 1
        if status == 0:
            break
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    assert kills > 10


def test_damaged_states_are_named(tmp_path, caplog):
    buffer = FrameBuffer(small())
    with pytest.raises(StoreError, match=r"index\.npz") as error:
        FrameBuffer.load(tmp_path, small())
    assert error.value.reason == "missing"
    drive(buffer, 20)
    buffer.save(tmp_path)
    whole = tmp_path / "index.npz"
    content = whole.read_bytes()
    for length in range(0, len(content), 97):
        whole.write_bytes(content[:length])
        with pytest.raises(StoreError, match=r"index\.npz") as error:
            FrameBuffer.load(tmp_path, small())
        assert error.value.reason == "damaged"
    whole.write_bytes(content)
    victim = sorted(tmp_path.glob("frame-*"))[3]
    victim.write_bytes(victim.read_bytes()[:100])
    shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    assert len(FrameBuffer.load(tmp_path, small())) == len(buffer) - 1
    assert victim.name in caplog.text


def test_a_state_that_was_split_otherwise_is_refused(tmp_path):
    buffer = FrameBuffer(small())
    drive(buffer, 20)
    buffer.save(tmp_path)
    for other in (small(seed=5), small(held_out=0.1), small(split_block=11.0), small(split_gap=1.0)):
        with pytest.raises(StoreError, match="split by") as error:
            FrameBuffer.load(tmp_path, other)
        assert error.value.reason == "refused"


def test_a_smaller_limit_holds_for_what_is_resumed(tmp_path):
    buffer = FrameBuffer(small(max_frames=40))
    drive(buffer, 40)
    buffer.save(tmp_path)
    resumed = FrameBuffer.load(tmp_path, small(max_frames=8))
    assert 0 < len(resumed) <= 8


def test_a_full_disk_is_named_and_the_old_state_stays(tmp_path, monkeypatch):
    buffer = FrameBuffer(small())
    drive(buffer, 10)
    buffer.save(tmp_path)
    old = FrameBuffer.load(tmp_path, small())
    drive(buffer, 10, start=10)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(StoreError, match="No space left") as error:
            buffer.save(tmp_path)
    assert error.value.reason == "disk_full"
    assert_same_buffer(FrameBuffer.load(tmp_path, small()), old)
    buffer.save(tmp_path)
    assert_same_buffer(FrameBuffer.load(tmp_path, small()), buffer)
