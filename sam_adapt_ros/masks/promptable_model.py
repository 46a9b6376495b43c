"""The interface of promptable segmentation models, so that LiDAR points can prompt SAM and its successors.

To use another model than SAM, write a class with the two methods of ``PromptableModel`` and give it to
``LidarPromptedSam``. MobileSAM (Zhang et al., arXiv 2306.14289) has segment_anything's interface, so
``SegmentAnything(mobile_sam.sam_model_registry["vit_t"](checkpoint))`` works as it is. SAM 2 (Ravi et al., arXiv
2408.00714) resizes images to a square without padding, and needs this class:

    class Sam2:
        def __init__(self, predictor):  # sam2.sam2_image_predictor.SAM2ImagePredictor
            self.predictor, self.device = predictor, predictor.device

        def embed(self, image):
            self.predictor.set_image(image)
            return image.shape[:2]

        def decode(self, embedding, prompts):
            height, width = embedding
            coords = torch.as_tensor(prompts, device=self.device)[:, None]
            ones = torch.ones(len(prompts), 1, dtype=torch.int, device=self.device)
            _, coords, ones, _ = self.predictor._prep_prompts(coords, ones, None, None, True)
            _, quality, logits = self.predictor._predict(coords, ones, return_logits=True)
            return Decoded(logits, quality, LogitFrame(logits.shape[-2:], logits.shape[-2:], (height, width)))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

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


class PromptableModel(Protocol):
    """A segmentation model that point prompts can drive."""

    device: torch.device

    def embed(self, image: NDArray[np.uint8]) -> Any:
        """Encodes an (H, W, 3) uint8 RGB image; called once per image."""
        ...

    def decode(self, embedding: Any, prompts: NDArray[np.float32]) -> Decoded:
        """Candidate masks of P prompts: (P, 2) float32 foreground points, pixels (u, v) of the image."""
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
