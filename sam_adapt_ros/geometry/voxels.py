"""Points -> voxels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def voxelize(points: NDArray, voxel_size: float) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The occupied voxels, and the one each point is in.

    points: (N, 3) finite metres; voxel_size: metres. A point p is in voxel floor(p / voxel_size), computed in float64.

    Returns ``coordinates`` (V, 3) int32, in ascending order of x, then y, then z, and ``inverse`` (N,) int64 with
    ``coordinates[inverse]`` the points' voxels.
    Raises ValueError when a point is not finite or so far away that int32 does not hold its voxel.
    """
    if voxel_size <= 0:
        raise ValueError(f"voxel_size: a positive length expected, got {voxel_size}")
    if len(points) == 0:
        return np.empty((0, 3), np.int32), np.empty(0, np.int64)
    cells = np.ascontiguousarray(np.asarray(points).T, np.float64)  # contiguous axes: several times faster
    cells = np.floor(cells / voxel_size)
    low, high = cells.min(axis=1), cells.max(axis=1)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError("points: finite coordinates expected")
    if max(-low.min(), high.max()) >= 2**31:
        raise ValueError(f"points: within {2**31 * voxel_size} m expected at voxel size {voxel_size} m")
    spans = [int(span) for span in high - low + 1]
    if spans[0] * spans[1] * spans[2] >= 2**63:  # the points spread too far for one int64 key: slower
        rows, inverse = np.unique(cells.T.astype(np.int32), axis=0, return_inverse=True)
        return rows, inverse.reshape(-1).astype(np.int64, copy=False)
    x, y, z = (cells - low[:, None]).astype(np.int64)
    keys = (x * spans[1] + y) * spans[2] + z
    unique, inverse = np.unique(keys, return_inverse=True)
    xy, z = np.divmod(unique, spans[2])
    x, y = np.divmod(xy, spans[1])
    coordinates = np.empty((len(unique), 3), np.int32)
    for column, (axis, offset) in enumerate(zip((x, y, z), low, strict=True)):
        coordinates[:, column] = axis + int(offset)
    return coordinates, inverse.astype(np.int64, copy=False)
