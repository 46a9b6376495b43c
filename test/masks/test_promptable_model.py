"""Logits at the points' pixels are those of the upsampled masks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from sam_adapt_ros.masks.promptable_model import LogitFrame, PointSampler
from sam_adapt_ros.masks.sam_family import load_sam


def upsampled(logits, frame):
    """The slow reference: what Sam.postprocess_masks does, at full resolution."""
    grown = interpolate(logits[:, None], frame.padded, mode="bilinear", align_corners=False)
    grown = grown[..., : frame.valid[0], : frame.valid[1]]
    return interpolate(grown, frame.image, mode="bilinear", align_corners=False)[:, 0]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_sampling_equals_upsampling(data):
    height, width = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    cells = data.draw(st.integers(2, 24))
    side = cells * data.draw(st.integers(1, 4))
    scale = side / max(height, width)
    valid = (max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1))
    frame = LogitFrame((side, side), valid, (height, width))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    logits = torch.as_tensor(rng.normal(size=(3, cells, cells)), dtype=torch.float32)
    rows, columns = rng.integers(0, height, 50), rng.integers(0, width, 50)
    sampled = PointSampler(frame, rows, columns, (cells, cells), torch.device("cpu"))(logits)
    torch.testing.assert_close(sampled, upsampled(logits, frame)[:, rows, columns], rtol=1e-4, atol=1e-4)


def test_sampling_equals_segment_anythings_own_postprocessing(sam_config, scene):
    view, seen = scene
    model = load_sam(sam_config)
    sam = model.model
    embedding = model.embed(view.image)
    decoded = model.decode(embedding, seen.uv[:5])
    full = sam.postprocess_masks(decoded.logits, embedding.valid, embedding.image).flatten(0, 1)
    rows, columns = seen.pixels(*view.image.shape[:2])
    low = decoded.logits.flatten(0, 1)
    sampled = PointSampler(decoded.frame, rows, columns, low.shape[-2:], model.device)(low)
    expected = full[:, rows, columns]
    torch.testing.assert_close(sampled, expected, rtol=1e-4, atol=1e-5)
    certain = expected.abs() > 1e-4
    assert ((sampled > 0) == (expected > 0))[certain].all()


@pytest.mark.parametrize(("height", "width"), [(160, 320), (375, 1242), (900, 1600), (320, 160), (7, 5)])
def test_cells_are_worth_the_images_pixels(height, width):
    scale = 1024 / max(height, width)
    frame = LogitFrame((1024, 1024), (int(height * scale + 0.5), int(width * scale + 0.5)), (height, width))
    areas = frame.cell_areas(256, 256)
    visible = frame.visible(torch.zeros(2, 256, 256))
    assert visible.shape[1:] == areas.shape
    assert float(areas.sum()) == pytest.approx(height * width, rel=1e-5)
    assert (areas > 0).all()


def test_a_model_without_padding_needs_one_step():
    frame = LogitFrame((16, 16), (16, 16), (40, 70))
    logits = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0))
    rows, columns = (grid.ravel() for grid in np.mgrid[:40, :70])
    sampled = PointSampler(frame, rows, columns, (16, 16), torch.device("cpu"))(logits)
    expected = interpolate(logits[:, None], (40, 70), mode="bilinear", align_corners=False).flatten(1)
    torch.testing.assert_close(sampled, expected, rtol=1e-5, atol=1e-5)
