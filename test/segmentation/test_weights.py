import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam_adapt_ros.errors import ConfigError, WeightsError
from sam_adapt_ros.segmentation import weights as files
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.segmenter import Segmenter
from sam_adapt_ros.segmentation.weights import Weights
from sam_adapt_ros.taxonomy import Taxonomy


@pytest.fixture
def weights(network: Network, shapes: Taxonomy) -> Weights:
    history = ({"step": "train", "frames": 3},)
    return Weights(network.state_dict(), shapes.name, shapes.classes, network.architecture, history, parent="abc")


@pytest.fixture
def saved(weights: Weights, tmp_path: Path) -> Path:
    files.save(tmp_path / "w.safetensors", weights)
    return tmp_path / "w.safetensors"


def test_round_trip(weights: Weights, saved: Path, shapes: Taxonomy) -> None:
    loaded = files.load(saved)
    assert loaded.state.keys() == weights.state.keys()
    for name, tensor in weights.state.items():
        torch.testing.assert_close(loaded.state[name], tensor, rtol=0, atol=0)
    for name in ("taxonomy", "classes", "architecture", "history", "created", "parent"):
        assert getattr(loaded, name) == getattr(weights, name)
    assert len(loaded.version) == 12
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_half_storage_halves_the_file_and_keeps_statistics_exact(weights: Weights, saved: Path, tmp_path: Path) -> None:
    files.save(tmp_path / "half.safetensors", weights, half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.75 * saved.stat().st_size
    loaded = files.load(tmp_path / "half.safetensors")
    for name, tensor in weights.state.items():
        assert loaded.state[name].dtype == tensor.dtype
        tolerance = {"rtol": 2e-3, "atol": 1e-6} if tensor.ndim >= 2 else {"rtol": 0, "atol": 0}
        torch.testing.assert_close(loaded.state[name], tensor, **tolerance)


def test_version_is_the_content_s(weights: Weights, tmp_path: Path) -> None:
    first = files.save(tmp_path / "a.safetensors", weights).version
    assert files.save(tmp_path / "b.safetensors", weights).version == first
    state = dict(weights.state)
    name = next(name for name, tensor in state.items() if tensor.is_floating_point())
    state[name] = state[name] + 1
    assert files.save(tmp_path / "c.safetensors", dataclasses.replace(weights, state=state)).version != first


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), header=st.booleans())
def test_a_flipped_byte_is_refused(saved: Path, place: float, flip: int, header: bool) -> None:
    whole = saved.read_bytes()
    damaged = bytearray(whole)
    end = 8 + int.from_bytes(whole[:8], "little") if header else len(whole)
    damaged[int(place * end)] ^= flip
    target = saved.with_name("damaged.safetensors")
    target.write_bytes(damaged)
    if bytes(damaged[:end]).rstrip(b" \t\r\n") == whole[:end].rstrip():
        return  # white space that pads the header means nothing
    with pytest.raises(WeightsError, match="damaged"):
        files.load(target)


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.5, 0.999])
def test_a_cut_file_is_refused(saved: Path, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        files.load(saved)


def test_another_taxonomy_is_refused(weights: Weights, saved: Path) -> None:
    other = Taxonomy("other", weights.classes, np.zeros((3, 3), np.uint8))
    with pytest.raises(WeightsError, match=r"w\.safetensors: taxonomy: other expected, the file has shapes"):
        Segmenter.load(saved, taxonomy=other)
    renamed = Taxonomy("shapes", ("ground", "wall", "tree"), np.zeros((3, 3), np.uint8))
    with pytest.raises(WeightsError, match=r"classes: .*tree"):
        Segmenter.load(saved, taxonomy=renamed)


def test_another_architecture_is_refused(weights: Weights, saved: Path, shapes: Taxonomy) -> None:
    asked = weights.architecture.model_copy(update={"point_levels": 5})
    with pytest.raises(WeightsError, match=r"architecture\.point_levels: 5 expected, the file has 3"):
        files.check_architecture(saved, files.load(saved).architecture, asked)


def test_tensors_that_do_not_fit_are_named(weights: Weights, tmp_path: Path, shapes: Taxonomy) -> None:
    name = "points.heads.classify.weight"
    path = tmp_path / "x.safetensors"
    for state, words in (
        ({k: v for k, v in weights.state.items() if k != name}, f"{name}: missing"),
        ({**weights.state, name: torch.zeros(3, 99)}, rf"{name}: \(3, 4\) expected, got \(3, 99\)"),
        ({**weights.state, "extra": torch.zeros(1)}, "extra: not part"),
    ):
        files.save(path, dataclasses.replace(weights, state=state))
        with pytest.raises(WeightsError, match=words):
            Segmenter.load(path, taxonomy=shapes)


def test_values_that_are_not_finite_are_refused(weights: Weights, saved: Path) -> None:
    name = "points.heads.classify.bias"
    state = {**weights.state, name: torch.full((3,), torch.nan)}
    with pytest.raises(WeightsError, match=name):
        files.save(saved.with_name("nan.safetensors"), dataclasses.replace(weights, state=state))
    assert not saved.with_name("nan.safetensors").exists()
    huge = {**weights.state, "points.heads.classify.weight": torch.full((3, 4), 1e6)}
    with pytest.raises(WeightsError, match="float16"):
        files.save(saved.with_name("huge.safetensors"), dataclasses.replace(weights, state=huge), half=True)


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    for data in (b"", b"pickle", safetensors.torch.save({"a": torch.zeros(1)})):
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=r"other\.safetensors"):
            files.load(path)
    with pytest.raises(WeightsError, match="absent"):
        files.load(tmp_path / "absent.safetensors")
    with pytest.raises(ConfigError, match="absent"):
        Segmenter.load(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html>\n<html><head><title>Sign in</title>" + b"<p>text</p>\n" * 500, "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 99\n", "git lfs pull"),
        (b"Entry not found", "'Entry not found'"),
    ],
)
def test_what_downloads_leave_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=words) as caught:
        files.load(tmp_path / "w.safetensors")
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file(weights: Weights, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.save(saved, dataclasses.replace(weights, parent="other"))
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
