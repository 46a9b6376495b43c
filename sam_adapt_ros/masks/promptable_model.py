"""The interface of promptable segmentation models, so that LiDAR points can prompt SAM and its successors.

``sam_family`` has the models by name. To use another one, write a class with the methods of ``PromptableModel`` and
give it to ``LidarPromptedSam``; with those of ``GridModel``, to ``AutomaticSam`` also.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sam_adapt_ros.errors import MaskError

STABILITY_SCORE_OFFSET = 1.0  # in logits: the stability score is the IoU of the masks at thresholds +1 and -1 (SAM)


@dataclass(frozen=True)
class LogitFrame:
    """How the low-resolution logits of a model map to the image; all sizes are (height, width) pixels.

    Logits are interpolated bilinearly (half-pixel centres) to ``padded``, cropped to ``valid``, and interpolated
    bilinearly to ``image``. A model without padding has padded == valid.
    """

    padded: tuple[int, int]
    valid: tuple[int, int]
    image: tuple[int, int]

    def visible(self, logits: torch.Tensor) -> torch.Tensor:
        """The part of (..., h, w) low-resolution logits that belongs to the image, without the padding."""
        height, width = (
            min(-(-self.valid[axis] * logits.shape[axis - 2] // self.padded[axis]), logits.shape[axis - 2])
            for axis in (0, 1)
        )
        return logits[..., :height, :width]

    def cell_areas(self, height: int, width: int) -> torch.Tensor:
        """Image pixels per cell of the ``visible`` part of (height, width) logits, float32."""
        sides = []
        for axis, cells in ((0, height), (1, width)):
            edges = np.arange(cells + 1) * (self.padded[axis] / cells)
            edges = edges[: int(np.searchsorted(edges, self.valid[axis])) + 1].clip(0, self.valid[axis])
            sides.append(np.diff(edges) * (self.image[axis] / self.valid[axis]))
        return torch.as_tensor(np.outer(*sides), dtype=torch.float32)


class Decoded(NamedTuple):
    """What a model predicts for P prompts.

    logits: (P, K, h, w), K candidate masks per prompt, above 0 on the mask. quality: (P, K) predicted IoU.
    frame: how the logits map to the image.
    """

    logits: torch.Tensor
    quality: torch.Tensor
    frame: LogitFrame


def check_numbers(decoded: Decoded) -> None:
    """Raises MaskError when a model predicts nothing but NaN: every threshold drops that, so there would be no masks,
    and no word about it."""
    if decoded.quality.isnan().all():
        raise MaskError(
            "masks.sam.checkpoint: all predictions of the model are NaN; its weights are damaged: use an undamaged "
            "checkpoint"
        )


class PromptableModel(Protocol):
    """A segmentation model that point prompts can drive."""

    device: torch.device

    def embed(self, image: NDArray[np.uint8]) -> Any:
        """Encodes an (H, W, 3) uint8 RGB image; called once per image."""
        ...

    def decode(self, embedding: Any, prompts: NDArray[np.float32]) -> Decoded:
        """Candidate masks of P prompts: (P, 2) float32 foreground points, pixels (u, v) of the image."""
        ...


class GridGenerator(Protocol):
    """segment_anything's ``SamAutomaticMaskGenerator``, which SAM 2's has the interface of."""

    points_per_batch: int

    def generate(self, image: NDArray[np.uint8]) -> list[dict[str, Any]]: ...


class GridModel(PromptableModel, Protocol):
    """A promptable model whose authors published an automatic mask generator."""

    def grid(self, **settings: Any) -> GridGenerator:
        """The published generator of this model. settings: its keyword arguments."""
        ...


class PointSampler:
    """Samples low-resolution logits at given pixels, with the same result as upsampling them to the image.

    Both interpolations of ``LogitFrame`` are linear and separable: along each axis a pixel depends on at most four
    cells. The weights form a sparse (V, h * w) matrix, and sampling M masks is one product with it.
    """

    def __init__(
        self,
        frame: LogitFrame,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        logits: tuple[int, int],
        device: torch.device,
    ) -> None:
        """rows, columns: (V,) pixels of the image; logits: (h, w) of the model's output."""
        y, weight_y = _taps(rows, frame.image[0], frame.valid[0], frame.padded[0], logits[0])
        x, weight_x = _taps(columns, frame.image[1], frame.valid[1], frame.padded[1], logits[1])
        place = (y[:, :, None] * logits[1] + x[:, None, :]).reshape(len(rows), -1)
        weight = (weight_y[:, :, None] * weight_x[:, None, :]).reshape(len(rows), -1)
        point = np.repeat(np.arange(len(rows)), place.shape[1])
        kept = weight.ravel() != 0
        indices = np.stack([point[kept], place.ravel()[kept]])
        matrix = torch.sparse_coo_tensor(
            torch.as_tensor(indices),
            torch.as_tensor(weight.ravel()[kept], dtype=torch.float32),
            (len(rows), logits[0] * logits[1]),
            check_invariants=False,
        )
        self._matrix = matrix.coalesce().to(device)

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """(M, h, w) logits -> (M, V) float32 at the points' pixels."""
        return (self._matrix @ logits.float().flatten(1).T.contiguous()).T


def _taps(
    pixels: NDArray[np.int64], image: int, valid: int, padded: int, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(V, 4) cells and their weights along one axis: two pixels of the padded image, each between two cells."""
    outer, outer_weight = _bilinear(pixels, image, valid)
    inner, inner_weight = _bilinear(outer.ravel(), padded, cells)
    count = len(pixels)
    weight = inner_weight.reshape(count, 2, 2) * outer_weight[:, :, None]
    return inner.reshape(count, 4), weight.reshape(count, 4)


def _bilinear(pixels: NDArray[np.int64], size: int, source: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(V, 2) indices and weights of pixels of ``size`` interpolated from ``source`` samples, as torch does."""
    position = np.maximum((pixels + 0.5) * (source / size) - 0.5, 0)
    low = np.minimum(np.floor(position).astype(np.int64), source - 1)
    high = np.minimum(low + 1, source - 1)
    share = np.clip(position - low, 0, 1)
    return np.stack([low, high], axis=1), np.stack([1 - share, share], axis=1)
