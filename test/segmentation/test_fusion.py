import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam_adapt_ros.segmentation.fusion import FUSIONS, fuse, mean, product
from sam_adapt_ros.segmentation.logits import BranchLogits


def logits(seed: int, rows: int) -> torch.Tensor:
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed)) * 5


@given(st.integers(0, 1000), st.sampled_from(sorted(FUSIONS)))
def test_rules_give_probabilities_and_keep_agreement(seed: int, name: str) -> None:
    image, points = logits(seed, 6), logits(seed + 1, 6)
    fused = FUSIONS[name](image, points)
    np.testing.assert_allclose(fused.sum(1), 1, atol=1e-5)
    agree = image.argmax(1) == points.argmax(1)
    assert (fused.argmax(1) == image.argmax(1))[agree].all()


def test_rules_match_their_formulas() -> None:
    image, points = logits(1, 9).double(), logits(2, 9).double()
    p, q = image.exp() / image.exp().sum(1, keepdim=True), points.exp() / points.exp().sum(1, keepdim=True)
    torch.testing.assert_close(mean(image, points), (p + q) / 2)
    torch.testing.assert_close(product(image, points), p * q / (p * q).sum(1, keepdim=True))


@pytest.mark.parametrize("name", sorted(FUSIONS))
def test_unseen_points_are_the_point_branch_s(name: str) -> None:
    image, points, seen = logits(3, 2), logits(4, 5), torch.tensor([3, 1])
    fused = fuse(FUSIONS[name], BranchLogits(image, points, seen))
    torch.testing.assert_close(fused[[0, 2, 4]], points.softmax(1)[[0, 2, 4]])
    torch.testing.assert_close(fused[seen], FUSIONS[name](image, points[seen]))
    nobody = fuse(FUSIONS[name], BranchLogits(image[:0], points, seen[:0]))
    torch.testing.assert_close(nobody, points.softmax(1))


def test_product_survives_certainty() -> None:
    sure, opposite = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
    assert torch.isfinite(product(sure, opposite)).all()
