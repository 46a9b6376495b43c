import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam_adapt_ros.segmentation.image_branch import sample_bilinear


@given(st.integers(0, 1000), st.integers(1, 7), st.integers(1, 7))
def test_sampling_matches_a_loop(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.standard_normal((2, 3, height, width)).astype(np.float32)
    uv = rng.uniform(-1, max(height, width) + 1, (8, 2)).astype(np.float32)
    which = rng.integers(0, 2, 8)
    got = sample_bilinear(torch.tensor(maps), torch.tensor(which), torch.tensor(uv)).numpy()
    for n in range(8):
        u, v = np.clip(uv[n], 0, [width - 1, height - 1])
        u0, v0 = int(u), int(v)
        u1, v1 = min(u0 + 1, width - 1), min(v0 + 1, height - 1)
        a, b = u - u0, v - v0
        m = maps[which[n]]
        upper, lower = (1 - a) * m[:, v0, u0] + a * m[:, v0, u1], (1 - a) * m[:, v1, u0] + a * m[:, v1, u1]
        np.testing.assert_allclose(got[n], (1 - b) * upper + b * lower, atol=1e-4)
