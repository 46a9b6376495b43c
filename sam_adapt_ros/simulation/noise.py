"""Procedural noise by look-up in precomputed, repeating tiles."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

_SIZE = 512
_MASK = _SIZE - 1


@cache
def _fractal() -> NDArray[np.float32]:
    rng = np.random.default_rng(20)
    frequency = np.hypot(np.fft.fftfreq(_SIZE)[:, None], np.fft.rfftfreq(_SIZE)[None])
    spectrum = np.fft.rfft2(rng.normal(size=(_SIZE, _SIZE))) / np.maximum(frequency, 2 / _SIZE) ** 1.1
    tile = np.fft.irfft2(spectrum, (_SIZE, _SIZE))
    tile = (tile - tile.mean()) / tile.std()
    return np.clip(tile / 2.5, -1, 1).astype(np.float32)


@cache
def _white() -> NDArray[np.float32]:
    return np.random.default_rng(21).random((_SIZE, _SIZE), np.float32)


def noise(u: NDArray, v: NDArray) -> NDArray[np.float32]:
    """Fractal noise in [-1, 1] at coordinates in texels; features are 1 to 200 texels large."""
    return _fractal()[v.astype(np.int32) & _MASK, u.astype(np.int32) & _MASK]


def cell(u: NDArray, v: NDArray) -> NDArray[np.float32]:
    """A random number in [0, 1) for each unit cell, independent of its neighbours."""
    return _white()[np.floor(v).astype(np.int32) & _MASK, np.floor(u).astype(np.int32) & _MASK]
