"""Batches of prompts fit the memory; the masks do not depend on their size."""

import logging

import numpy as np
import pytest
import torch

from sam_adapt_ros.config import SamLidarConfig
from sam_adapt_ros.errors import MaskError
from sam_adapt_ros.masks import prompt_batches, sam_lidar_prompts
from sam_adapt_ros.masks.prompt_batches import PromptBatches, free_memory, out_of_memory
from sam_adapt_ros.masks.sam_automatic import AutomaticSam
from sam_adapt_ros.masks.sam_family import load_sam
from sam_adapt_ros.masks.sam_lidar_prompts import LidarPromptedSam

CPU = torch.device("cpu")
ERRORS = [
    MemoryError(),
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:128] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("MPS backend out of memory"),
]


class Memory:
    """Room for some prompts at a time; an error where more come."""

    def __init__(self, room, error=None):
        self.room, self.error = room, error or MemoryError()
        self.sizes = []

    def __call__(self, prompts):
        self.sizes.append(len(prompts))
        if len(prompts) > self.room:
            raise self.error
        return prompts * 2


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_exhausted_memory_halves_the_batch(error, caplog):
    memory, batches = Memory(5, error), PromptBatches("vit_b", CPU)
    prompts = np.arange(21)
    with caplog.at_level(logging.WARNING):
        parts = batches.run(memory, prompts, 16, 1)
        again = batches.run(memory, prompts, 16, 1)
    assert memory.sizes == [16, 8, 4, 4, 4, 4, 4, 1, 4, 4, 4, 4, 4, 1]  # and what failed is not tried again
    assert (np.concatenate(parts) == 2 * prompts).all() and (np.concatenate(again) == 2 * prompts).all()
    (said,) = caplog.messages
    assert "vit_b" in said and "cpu" in said and "16 prompts" in said


def test_one_prompt_that_does_not_fit_is_an_error():
    memory = Memory(0)
    with pytest.raises(MaskError, match=r"masks\.sam\.model vit_b.* cpu .*single image and prompt"):
        PromptBatches("vit_b", CPU).run(memory, np.arange(4), 4, 1)
    assert memory.sizes == [4, 2, 1]


def test_other_errors_are_not_hidden():
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert not out_of_memory(error)
    memory = Memory(1, error)
    with pytest.raises(RuntimeError, match="shapes"):
        PromptBatches("vit_b", CPU).run(memory, np.arange(4), 4, 1)
    assert memory.sizes == [4]


def test_batches_are_as_large_as_free_memory_allows(monkeypatch):
    monkeypatch.setattr(prompt_batches, "free_memory", lambda device: 1000)
    batches = PromptBatches("vit_b", CPU)
    assert batches.size(64, 1) == 64
    assert batches.size(64, 100) == 5  # half of what is free
    assert batches.size(64, 1e6) == 1
    assert free_memory(CPU) > 2**20


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_both_generators_give_the_same_masks_with_little_memory(error, sam_config, scene, monkeypatch):
    def masks():
        model = load_sam(sam_config)
        lidar = SamLidarConfig(prompts=24, prompts_per_batch=10)
        return AutomaticSam(model, sam_config)(*scene), LidarPromptedSam(model, sam_config, lidar)(*scene), model

    *plenty, _ = masks()
    sizes = []
    from segment_anything.modeling import MaskDecoder

    decode = MaskDecoder.forward

    def scarce(self, *, sparse_prompt_embeddings, **rest):
        sizes.append(len(sparse_prompt_embeddings))
        if sizes[-1] > 3:
            raise error
        return decode(self, sparse_prompt_embeddings=sparse_prompt_embeddings, **rest)

    monkeypatch.setattr(MaskDecoder, "forward", scarce)
    *scarcely, _ = masks()
    assert max(sizes) > 3 and sizes.count(3) == 0 and sizes.count(2) > 10  # 5 and 10 halve to 2
    for expected, found in zip(plenty, scarcely, strict=True):
        assert len(expected) == len(found) > 3
        assert (expected.membership != found.membership).mean() < 1e-3  # logits within rounding of 0
        assert np.allclose(expected.scores, found.scores, atol=1e-4)


def test_an_encoder_that_does_not_fit_is_said(sam_config, scene, monkeypatch):
    model = load_sam(sam_config)

    def exhausted(image):
        raise MemoryError

    monkeypatch.setattr(model.model.image_encoder, "forward", exhausted)
    for generator in (LidarPromptedSam(model, sam_config, SamLidarConfig()), AutomaticSam(model, sam_config)):
        with pytest.raises(MaskError, match="single image"):
            generator(*scene)
    assert sam_lidar_prompts.BATCH_CPU > 1
