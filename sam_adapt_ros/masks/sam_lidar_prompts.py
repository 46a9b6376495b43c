"""Segment Anything (Kirillov et al., ICCV 2023, arXiv 2304.02643) prompted by LiDAR points.

SAM's automatic grid places most of its prompts where no point falls (sky, for one), and upsamples every candidate mask
to the image's size, although only its values at the points' pixels are needed. Here the prompts are LiDAR points,
spread over image and depth, with preference for points that have no mask or no label yet. The filters are SAM's own:
predicted IoU, stability score and non-maximum suppression of boxes, computed on the decoder's low-resolution logits.
The logits are sampled at the points' pixels, with the same result as upsampling.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.utils.amg import batched_mask_to_box
from torchvision.ops import nms

from sam_adapt_ros.config import SamConfig, SamLidarConfig
from sam_adapt_ros.frame import IGNORE, CameraView
from sam_adapt_ros.masks.mask_set import MaskSet, SeenPoints
from sam_adapt_ros.masks.prompt_batches import DECODER_BYTES, PromptBatches
from sam_adapt_ros.masks.prompt_sampling import PromptSpread
from sam_adapt_ros.masks.promptable_model import (
    STABILITY_SCORE_OFFSET,
    Decoded,
    PointSampler,
    PromptableModel,
    check_numbers,
)

BATCH_CPU = 16  # prompts at a time, which bounds the memory
BATCH_CUDA = 64  # prompts at a time, which keeps the GPU busy
# How prompts spread over the points that a camera sees; see PromptSpread.
DEPTH_WEIGHT = 0.5  # distance, in image widths, of two depths that differ by a factor of e
COVERED_WEIGHT = 0.25  # factor on the distance of points that are on a mask already
LABELLED_WEIGHT = 0.5  # factor on the distance of points that have a label already


class _Candidates(NamedTuple):
    """The M masks of one batch of prompts that passed the filters.

    membership: (M, V) bool. area: (M,) image pixels. quality: (M,) predicted IoU. box: (M, 4) x0, y0, x1, y1 in cells
    of the low-resolution logits.
    """

    membership: torch.Tensor
    area: torch.Tensor
    quality: torch.Tensor
    box: torch.Tensor


class LidarPromptedSam:
    """The ``sam_lidar`` generator.

    A mask's area is the number of image pixels in its low-resolution cells. Its score is the predicted
    IoU; masks are sorted by descending score.
    """

    name = "sam_lidar"

    def __init__(
        self, model: PromptableModel, thresholds: SamConfig, config: SamLidarConfig, min_points: int = 1
    ) -> None:
        self._model = model
        self._thresholds = thresholds
        self._config = config
        self._min_points = min_points
        self._batches = PromptBatches(thresholds.model, model.device)

    def __call__(self, view: CameraView, seen: SeenPoints, labels: NDArray[np.uint8] | None = None) -> MaskSet:
        if len(seen) == 0:
            return MaskSet.empty(0)
        embedding = self._batches.fitting(lambda _: self._model.embed(view.image), 1, DECODER_BYTES)
        return self.prompt(embedding, view.image.shape[:2], seen, labels)

    @torch.inference_mode()
    def prompt(
        self, embedding: object, size: tuple[int, int], seen: SeenPoints, labels: NDArray[np.uint8] | None = None
    ) -> MaskSet:
        """The masks of an image that is already embedded.

        Args:
            embedding: what the model's ``embed`` returned.
            size: (H, W) pixels of the image.
            seen: the V points to prompt with and to find on the masks.
            labels: (V,) uint8 labels known so far, 255 = none.
        """
        config = self._config
        rows, columns = seen.pixels(*size)
        spread = PromptSpread(seen.uv, seen.depth, size[1], DEPTH_WEIGHT)
        need = np.ones(len(seen), np.float32)
        if labels is not None:
            need[labels != IGNORE] = LABELLED_WEIGHT
        batch_size = config.prompts_per_batch or (BATCH_CUDA if self._model.device.type == "cuda" else BATCH_CPU)
        found: list[_Candidates] = []
        sampler: PointSampler | None = None

        def candidates(prompts: NDArray[np.float32]) -> _Candidates:
            nonlocal sampler
            decoded = self._model.decode(embedding, prompts)
            if sampler is None:
                shape = (int(decoded.logits.shape[-2]), int(decoded.logits.shape[-1]))
                sampler = PointSampler(decoded.frame, rows, columns, shape, self._model.device)
            return self._filter(decoded, sampler)

        covered = np.zeros(len(seen), bool)
        for start in range(0, config.prompts, batch_size):
            weight = np.where(covered, np.float32(COVERED_WEIGHT), np.float32(1)) * need
            picked = spread.next(min(batch_size, config.prompts - start), weight)
            if len(picked) == 0:
                break
            # What is picked depends on what is covered, so the batches that memory allows must not change the picking.
            for part in self._batches.run(candidates, seen.uv[picked], batch_size, DECODER_BYTES):
                covered |= part.membership.any(dim=0).cpu().numpy()
                found.append(part)
        return self._best(found, len(seen))

    def _filter(self, decoded: Decoded, sampler: PointSampler) -> _Candidates:
        """The candidates with high predicted IoU and stability score, sampled at the points."""
        check_numbers(decoded)
        thresholds = self._thresholds
        logits, quality = decoded.logits.flatten(0, 1), decoded.quality.flatten()
        if thresholds.pred_iou_thresh > 0:
            good = quality > thresholds.pred_iou_thresh
            logits, quality = logits[good], quality[good]
        visible = decoded.frame.visible(logits)
        inner = (visible > STABILITY_SCORE_OFFSET).sum((-2, -1))
        outer = (visible > -STABILITY_SCORE_OFFSET).sum((-2, -1))
        on = visible > 0
        # An empty mask has no box; batched_mask_to_box would give (0, 0, 0, 0).
        stable = (inner / outer.clamp(min=1) >= thresholds.stability_score_thresh) & on.any(-1).any(-1)
        logits, quality, on = logits[stable], quality[stable], on[stable]
        cells = decoded.frame.cell_areas(*decoded.logits.shape[-2:]).to(on.device)
        box = batched_mask_to_box(on).float()
        box[:, 2:] += 1  # from the last cell on it to its far edge
        return _Candidates(sampler(logits) > 0, on.flatten(1).float() @ cells.flatten(), quality, box)

    def _best(self, found: list[_Candidates], points: int) -> MaskSet:
        """The candidates left by non-maximum suppression of their boxes, by descending predicted IoU."""
        if not found:
            return MaskSet.empty(points)
        quality = torch.cat([each.quality for each in found])
        kept = nms(torch.cat([each.box for each in found]), quality, self._thresholds.box_nms_thresh)
        return MaskSet(
            torch.cat([each.membership for each in found])[kept].cpu().numpy(),
            torch.cat([each.area for each in found])[kept].cpu().numpy().astype(np.float64),
            (self.name,) * len(kept),
            quality[kept].cpu().numpy(),
        ).with_at_least(self._min_points)
