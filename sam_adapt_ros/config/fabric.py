"""Several devices and machines for training and evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sam_adapt_ros.config.section import Section


class FabricConfig(Section):
    """Training on several devices and machines, in mixed precision: by Lightning Fabric, extra ``train``."""

    devices: int = Field(0, ge=0, description="Devices a machine, each with a process; 0: as torchrun started, else 1")
    num_nodes: int = Field(0, ge=0, description="Machines; 0: as torchrun started, else 1")
    strategy: Literal["ddp", "ddp_find_unused_parameters"] = Field(
        "ddp", description="How gradients are joined; the second for networks that do not use all parameters each time"
    )
    precision: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="Number format that CUDA computes in where that is safe; weights stay float32"
    )
