"""Prompts in batches that fit the memory which is free.

A promptable model takes tens of megabytes a prompt, and how much is free depends on the image, on the device and on
what else runs. What a batch computes does not depend on the others, so that their size changes no mask.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import psutil
import torch
from numpy.typing import NDArray

from sam_adapt_ros.errors import MaskError
from sam_adapt_ros.segmentation.device import out_of_memory

SHARE = 0.5  # of the free memory that a batch may take; the rest is for whatever else runs
DECODER_BYTES = 40 * 2**20  # that a prompt takes in the mask decoder, which is the same in all SAMs

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def free_memory(device: torch.device) -> int:
    """Bytes that can be had on a device now."""
    if device.type != "cuda":
        return int(psutil.virtual_memory().available)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + cached


class PromptBatches:
    """How many prompts a model takes at a time: as memory has room for, and half as many when it is exhausted.

    A size that was too large is not tried again, and is logged once.
    """

    def __init__(self, model: str, device: torch.device) -> None:
        """model: its name, for messages."""
        self._model = model
        self._device = device
        self._limit: int | None = None  # half of the smallest size that was too large

    def size(self, wanted: int, bytes_a_prompt: float) -> int:
        """Prompts of the next batch, at least one. bytes_a_prompt: what a prompt takes, roughly."""
        room = int(SHARE * free_memory(self._device) / bytes_a_prompt)
        return max(1, min(wanted, room, self._limit or wanted))

    def fitting(self, function: Callable[[int], Result], wanted: int, bytes_a_prompt: float) -> Result:
        """``function`` of a size, which is tried with smaller ones until memory suffices.

        Raises MaskError when it does not for a single prompt.
        """
        while True:
            size = self.size(wanted, bytes_a_prompt)
            try:
                return function(size)
            except Exception as error:
                if not out_of_memory(error):
                    raise
            self._halve(size)  # outside of the handler, whose traceback would keep the batch in memory

    def run(
        self, function: Callable[[NDArray], Result], prompts: NDArray, wanted: int, bytes_a_prompt: float
    ) -> list[Result]:
        """``function`` of consecutive parts of the prompts, at most ``wanted`` at a time. Raises as ``fitting``."""
        results: list[Result] = []
        while len(prompts):

            def part(size: int, rest: NDArray = prompts) -> tuple[NDArray, Result]:
                return rest[size:], function(rest[:size])

            prompts, result = self.fitting(part, min(wanted, len(prompts)), bytes_a_prompt)
            results.append(result)
        return results

    def _halve(self, failed: int) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if failed == 1:
            raise MaskError(
                f"masks.sam.model {self._model}: the memory of {self._device} is exhausted by a single image and "
                "prompt; free memory, or choose a smaller model, masks.sam.device 'cpu', or masks.generator 'segments'"
            )
        if self._limit is None:
            logger.warning(
                "masks.sam.model %s: the memory of %s is exhausted by %d prompts at a time; going on with fewer, which "
                "gives the same masks more slowly",
                self._model,
                self._device,
                failed,
            )
        self._limit = failed // 2
