"""A tiny, randomly initialised SAM, as a real checkpoint in the real registry."""

from functools import partial

import numpy as np
import pytest
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from sam_adapt_ros.config import SamConfig
from sam_adapt_ros.frame import CameraView
from sam_adapt_ros.geometry import CameraModel, project
from sam_adapt_ros.masks import SeenPoints
from sam_adapt_ros.masks.sam_family import MEMBERS

SIDE, PATCH, WIDTH = 256, 16, 32


def build_tiny_sam(checkpoint=None) -> Sam:
    """segment_anything's own builder (build_sam.py) with small numbers."""
    cells = SIDE // PATCH
    sam = Sam(
        image_encoder=ImageEncoderViT(
            depth=2,
            embed_dim=32,
            img_size=SIDE,
            mlp_ratio=2,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            num_heads=2,
            patch_size=PATCH,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=[1],
            window_size=4,
            out_chans=WIDTH,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=WIDTH, image_embedding_size=(cells, cells), input_image_size=(SIDE, SIDE), mask_in_chans=4
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=64, num_heads=2),
            transformer_dim=WIDTH,
            iou_head_depth=3,
            iou_head_hidden_dim=32,
        ),
    )
    sam.eval()
    if checkpoint is not None:
        with open(checkpoint, "rb") as file:  # noqa: PTH123
            sam.load_state_dict(torch.load(file, weights_only=True))
    return sam


@pytest.fixture(scope="session")
def sam_config(tmp_path_factory):
    """SamConfig of a tiny model whose thresholds let some masks through and some not."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("sam") / "tiny.pth"
    weights = build_tiny_sam().state_dict()
    for name, values in weights.items():  # larger weights, so that an untrained decoder predicts different masks
        if name.startswith("mask_decoder") and values.ndim >= 2:
            values.mul_(3)
    torch.save(weights, path)
    sam_model_registry["tiny"] = build_tiny_sam
    MEMBERS["tiny"] = MEMBERS["vit_b"]
    yield SamConfig(
        model="tiny",
        checkpoint=str(path),
        device="cpu",
        points_per_side=3,
        points_per_batch=5,
        pred_iou_thresh=-1.0,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,  # all masks of random weights have the same box
    )
    del sam_model_registry["tiny"], MEMBERS["tiny"]


@pytest.fixture(scope="session")
def scene() -> tuple[CameraView, SeenPoints]:
    """A blocky image of odd size, and points in front of and behind its camera, some of them non-finite."""
    rng = np.random.default_rng(3)
    height, width = 151, 233
    image = np.kron(rng.integers(0, 256, (10, 15, 3)), np.ones((16, 16, 1)))[:height, :width].astype(np.uint8)
    K = np.array([[150.0, 0, width / 2], [0, 150.0, height / 2], [0, 0, 1]])
    T_camera_lidar = np.array([[0, -1, 0, 0], [0, 0, -1, -0.3], [1, 0, 0, 0.1], [0, 0, 0, 1]], float)
    view = CameraView("front", 0, image, CameraModel(width, height, K), T_camera_lidar)
    points = (rng.uniform(-1, 1, (4000, 3)) * (30, 20, 2)).astype(np.float32)
    points[::97] = np.nan
    return view, SeenPoints.of(points, project(points, view))
