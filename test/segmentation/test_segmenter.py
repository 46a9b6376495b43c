import copy
import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from sam_adapt_ros.config import ArchitectureConfig, SegmenterConfig, load_architecture
from sam_adapt_ros.errors import ConfigError, NetworkError
from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.geometry.projection import project_all
from sam_adapt_ros.notices import Notices
from sam_adapt_ros.segmentation.batch import Batch, Sample, reach
from sam_adapt_ros.segmentation.logits import compute_logits
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.segmenter import Segmenter
from sam_adapt_ros.taxonomy import Taxonomy

MakeFrame = Callable[..., Frame]


@pytest.mark.parametrize("cameras", [0, 1, 6])
def test_every_point_gets_a_class(segmenter: Segmenter, make_frame: MakeFrame, cameras: int) -> None:
    frame = make_frame(cameras=cameras)
    prediction = segmenter(frame)
    count = len(frame.points)
    assert prediction.labels.dtype == np.uint8 and prediction.labels.shape == (count,)
    assert prediction.labels.max() < 3
    np.testing.assert_allclose(prediction.fused.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(prediction.points.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(prediction.labels, prediction.fused.argmax(1))
    np.testing.assert_array_equal(prediction.probability, prediction.fused.max(1))
    projections = project_all(frame.points, frame.views)
    np.testing.assert_array_equal(prediction.seen, np.any([each.valid for each in projections], axis=0))
    np.testing.assert_allclose(prediction.image.sum(1), prediction.seen, atol=1e-5)
    unseen = ~prediction.seen
    np.testing.assert_allclose(prediction.fused[unseen], prediction.points[unseen], atol=1e-6)
    assert set(prediction.timings) == {"project", "voxelize", "model", "fuse"}


def test_points_that_are_not_finite_keep_their_rows(segmenter: Segmenter, make_frame: MakeFrame) -> None:
    frame = make_frame()
    bad = np.arange(0, len(frame.points), 7)
    holes = frame.points.copy()
    holes[bad] = np.array([np.nan, 1, np.inf], np.float32)
    prediction = segmenter(dataclasses.replace(frame, points=holes))
    assert (prediction.labels[bad] == 255).all() and not prediction.probability[bad].any()
    assert not prediction.seen[bad].any() and not prediction.fused[bad].any()
    keep = np.setdiff1d(np.arange(len(frame.points)), bad)
    without = segmenter(dataclasses.replace(frame, points=frame.points[keep], ground_truth=None))
    np.testing.assert_allclose(prediction.fused[keep], without.fused, atol=1e-5)


@pytest.mark.parametrize("points", [np.zeros((0, 3), np.float32), np.full((4, 3), np.nan, np.float32)])
def test_nothing_to_label_is_fine(segmenter: Segmenter, make_frame: MakeFrame, points: np.ndarray) -> None:
    prediction = segmenter(dataclasses.replace(make_frame(), points=points, ground_truth=None))
    assert prediction.fused.shape == (len(points), 3)
    assert (prediction.labels == 255).all()


def test_points_beyond_the_grid_have_no_label(segmenter: Segmenter) -> None:
    """On its faces they would be given one, and change those of others."""
    side = reach(segmenter.network.architecture)
    inside = np.nextafter(np.float32(side), np.float32(0))
    points = np.array([[1e7, -1e7, 3], [1, 2, 3], [-1e20, 0, 0], [0, side, 0], [-inside, 0, inside]], np.float32)
    prediction = segmenter(Frame(0, "lidar", points))
    assert (prediction.labels == IGNORE).tolist() == [True, False, True, True, False]
    for probability in (prediction.probability, prediction.fused, prediction.points):
        assert not probability[[0, 2, 3]].any()
    assert (segmenter(Frame(0, "lidar", points[1:2])).labels < 3).all()


def test_what_augmentation_moves_beyond_the_grid_stays_where_it_is(segmenter: Segmenter, make_frame: MakeFrame) -> None:
    network = segmenter.network
    sample = Sample.from_frame(make_frame(cameras=0), network.architecture)
    moved = sample.points.copy()
    moved[:8] = reach(network.architecture) * np.array([1.4, -1.4, 1.4], np.float32) + moved[:8]
    (together,) = compute_logits(network, [dataclasses.replace(sample, points=moved)])
    kept = np.arange(len(moved)) >= 8
    (alone,) = compute_logits(network, [sample.only(kept)])
    np.testing.assert_allclose(together.points[kept], alone.points, atol=1e-5)


def test_it_is_said_while_most_points_are_beyond_the_grid(segmenter: Segmenter) -> None:
    points, notices = np.full((10, 3), 1e4, np.float32) + np.arange(10, dtype=np.float32)[:, None], Notices()
    points[:4] = points[:4] - np.float32(1e4)
    segmenter(Frame(0, "lidar", points)).report(notices)
    assert "60% of the points are beyond the cube around the sensor" in next(iter(notices))
    segmenter(Frame(0, "lidar", points[:7])).report(notices)
    assert not notices
    segmenter(Frame(0, "lidar", np.full((3, 3), np.nan, np.float32))).report(notices)
    assert not notices


def test_far_points_change_nothing_near(segmenter: Segmenter, make_frame: MakeFrame) -> None:
    """The grid's size does not enter: a far return may not move or mix voxels."""
    frame = make_frame(cameras=0)
    far = np.array([[600, 600, 600], [-600, -600, -600]], np.float32)
    alone = segmenter(frame).points
    together = segmenter(
        dataclasses.replace(frame, points=np.concatenate([frame.points, far]), ground_truth=None)
    ).points
    np.testing.assert_allclose(together[:-2], alone, atol=1e-5)


def test_predictions_repeat_and_do_not_depend_on_the_order_of_points(
    segmenter: Segmenter, make_frame: MakeFrame
) -> None:
    frame = make_frame(seed=3)
    first, second = segmenter(frame), segmenter(frame)
    np.testing.assert_array_equal(first.fused, second.fused)
    order = np.random.default_rng(0).permutation(len(frame.points))
    shuffled = segmenter(dataclasses.replace(frame, points=frame.points[order], ground_truth=None))
    np.testing.assert_allclose(shuffled.fused, first.fused[order], atol=1e-5)


def test_image_size_may_differ_from_the_network_s(segmenter: Segmenter, make_frame: MakeFrame) -> None:
    assert (segmenter(make_frame(width=211, height=101)).labels < 3).all()


def test_fusion_follows_the_configuration(network: Network, shapes: Taxonomy, make_frame: MakeFrame) -> None:
    frame = make_frame()
    mean = Segmenter(network, shapes, SegmenterConfig(fusion="mean"))(frame)
    product = Segmenter(network, shapes, SegmenterConfig(fusion="product"))(frame)
    seen = mean.seen
    np.testing.assert_allclose(mean.fused[seen], (mean.image[seen] + mean.points[seen]) / 2, atol=1e-6)
    expected = product.image[seen] * product.points[seen]
    np.testing.assert_allclose(product.fused[seen], expected / expected.sum(1, keepdims=True), atol=1e-5)


def test_images_are_computed_in_bfloat16_where_it_is_asked_for(
    network: Network, shapes: Taxonomy, make_frame: MakeFrame
) -> None:
    """The points are not: their branch is the more sensitive one, and spconv has no bfloat16."""
    frame = make_frame()
    exact, rounded = (
        Segmenter(network, shapes, SegmenterConfig(precision=name))(frame) for name in ("float32", "bfloat16")
    )
    np.testing.assert_array_equal(rounded.points, exact.points)
    difference = np.abs(rounded.image - exact.image)
    assert 0 < difference.max() < 0.1 and (difference > 0).mean() > 0.1


def test_frames_are_labelled_by_the_network_that_is_prepared_for_it(
    network: Network, shapes: Taxonomy, make_frame: MakeFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.points.heads.classify.weight.neg_()
    expected = Segmenter(other, shapes)(make_frame()).points
    monkeypatch.setattr(Network, "prepare_for_inference", lambda own, device: other)
    np.testing.assert_array_equal(Segmenter(network, shapes)(make_frame()).points, expected)


def test_cuda_is_refused_where_there_is_none(network: Network, shapes: Taxonomy) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ConfigError, match=r"^segmenter\.device: cuda"):
        Segmenter(network, shapes, SegmenterConfig(device="cuda"))


class FakeGpu:
    """A CUDA device that computes on the CPU. ``full``: what it has no memory for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: RuntimeError) -> None:
        self.full = ""
        to, forward = Network.to, Network.forward
        device = ["cpu"]

        def move(network: Network, target: torch.device) -> Network:
            device[0] = target.type
            if target.type == "cuda" and self.full == "the network":
                raise error
            return to(network, "cpu")

        def compute(network: Network, *args: object, **options: object) -> object:
            if device[0] == "cuda" and self.full == "a frame":
                raise error
            return forward(network, *args, **options)

        monkeypatch.setattr(Network, "to", move)
        monkeypatch.setattr(Network, "forward", compute)
        monkeypatch.setattr(Batch, "to", lambda batch, _: batch)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
        monkeypatch.setattr("sam_adapt_ros.segmentation.segmenter.choose_device", lambda *_: torch.device("cuda"))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("HIP out of memory")])
@pytest.mark.parametrize("full", ["the network", "a frame"])
def test_a_gpu_without_free_memory(
    network: Network,
    shapes: Taxonomy,
    make_frame: MakeFrame,
    monkeypatch: pytest.MonkeyPatch,
    full: str,
    error: RuntimeError,
) -> None:
    """Left to itself, the segmenter goes to the CPU and says so; where CUDA was asked for, it is an error. A network of
    a few megabytes may find room where the first frame does not."""
    config = SegmenterConfig(sparse_backend="torch")
    expected = Segmenter(network, shapes, config)(make_frame()).fused
    FakeGpu(monkeypatch, error).full = full
    with pytest.raises(ConfigError, match=r"^segmenter\.device: cuda has no free memory .* or set cpu"):
        Segmenter(network, shapes, config.model_copy(update={"device": "cuda"})).warm_up()
    segmenter = Segmenter(network, shapes, config)
    segmenter.warm_up()
    assert segmenter.device.type == "cpu" and "no free memory" in segmenter.notices.as_dict()["device_memory"]
    np.testing.assert_array_equal(segmenter(make_frame()).fused, expected)


def test_memory_that_is_exhausted_for_a_moment_costs_that_frame_alone(
    network: Network, shapes: Taxonomy, make_frame: MakeFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once frames flow, the model stays where it is fast."""
    gpu = FakeGpu(monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))
    segmenter = Segmenter(network, shapes, SegmenterConfig(sparse_backend="torch"))
    segmenter.warm_up()
    gpu.full = "a frame"
    with pytest.raises(NetworkError, match="out of memory"):
        segmenter(make_frame())
    gpu.full = ""
    assert (segmenter(make_frame()).labels < 3).all()
    assert segmenter.device.type == "cuda" and len(segmenter.notices) == 0


def test_another_error_of_a_gpu_is_not_taken_for_a_lack_of_memory(
    network: Network, shapes: Taxonomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def to(*_: object) -> Network:
        raise RuntimeError("CUDA error: no kernel image is available")

    monkeypatch.setattr(type(network), "to", to)
    monkeypatch.setattr("sam_adapt_ros.segmentation.segmenter.choose_device", lambda *_: torch.device("cuda"))
    with pytest.raises(RuntimeError, match="kernel"):
        Segmenter(network, shapes)


def test_the_shipped_weights_keep_their_version() -> None:
    """The version is a hash of format and content: labels, stores and reports of earlier runs name it."""
    assert Segmenter.load("town_small").version == "886ff450ebc9"


def test_warm_up_runs(segmenter: Segmenter) -> None:
    segmenter.warm_up()


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_presets_build(preset: str) -> None:
    network = Network(8, load_architecture(preset))
    parameters = sum(p.numel() for p in network.parameters())
    # A weights file has two bytes a parameter; the one that ships has to stay within 4 MB.
    assert 2 * parameters <= 3_200_000 if preset == "small" else parameters > 20_000_000


def test_architecture_errors_name_the_field(tmp_path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        load_architecture("nowhere")
    (tmp_path / "bad.yaml").write_text("point_levels: 20\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml.*point_levels"):
        load_architecture(tmp_path / "bad.yaml")
    with pytest.raises(ConfigError, match="decoder_channels"):
        Network(3, ArchitectureConfig(decoder_channels=[8]))
    with pytest.raises(ConfigError, match="encoder"):
        Network(3, ArchitectureConfig(encoder="no-such-encoder"))


def test_intensity_that_the_network_asks_for_and_the_frame_lacks_is_said_once(
    tiny: ArchitectureConfig, shapes: Taxonomy, make_frame: MakeFrame
) -> None:
    torch.manual_seed(0)
    segmenter = Segmenter(Network(3, tiny.model_copy(update={"point_inputs": ["intensity", "range"]})), shapes)
    frame = make_frame()
    strong = dataclasses.replace(frame, intensity=np.linspace(0, 255, len(frame.points), dtype=np.float32))
    said: list[str] = []
    notices = Notices(said.append)
    predictions = [segmenter(each) for each in (strong, frame, frame, strong)]
    for prediction, holds in zip(predictions, (False, True, True, False), strict=True):
        prediction.report(notices)
        assert ("no_intensity" in notices.as_dict()) == holds
    assert len(said) == 1 and "intensity" in said[0]
    assert not np.array_equal(predictions[0].points, predictions[1].points)
    middle = segmenter(dataclasses.replace(frame, intensity=np.full(len(frame.points), 7, np.float32)))
    np.testing.assert_array_equal(middle.points, predictions[1].points)
    assert not Segmenter(Network(3, tiny), shapes)(frame).lacks_intensity
