"""The processes of a training run, each of which has a device and a part of every batch.

One process computes by itself. Several, or one in mixed precision, are run by Lightning Fabric, which ``torchrun``'s
processes find each other by; what they compute together is what one process would.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from sam_adapt_ros.branch import NETWORK_BRANCHES
from sam_adapt_ros.config import FabricConfig
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.segmentation.batch import Batch
from sam_adapt_ros.segmentation.heads import BranchOutput
from sam_adapt_ros.segmentation.logits import forward
from sam_adapt_ros.segmentation.segmentation_network import NetworkOutput, SegmentationNetwork
from sam_adapt_ros.training.synchronized_layers import synchronize_layers

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")
Forward = Callable[[Batch], NetworkOutput]
_KINDS = ("logits", "imitation")  # of a BranchOutput
_PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_OF_FABRIC = {"float32": "32-true", "float16": "16-mixed", "bfloat16": "bf16-mixed"}


class Ranks:
    """One process: nothing is shared.

    rank: of this process, from 0. size: their number. device: this one's.
    """

    rank, size = 0, 1

    def __init__(self, device: torch.device = torch.device("cpu")) -> None:
        self.device = device

    def setup(
        self, network: SegmentationNetwork, optimizer: torch.optim.Optimizer
    ) -> tuple[Forward, torch.optim.Optimizer]:
        """What computes the network's output over this process's part of a batch, and what takes the step."""
        return lambda batch: forward(network, batch), optimizer

    def backward(self, loss: Tensor) -> None:
        """Adds a loss's gradients."""
        loss.backward()  # type: ignore[no-untyped-call]

    def is_finite(self, loss: Tensor) -> bool:
        """Whether the loss of all processes is a finite number."""
        return bool(torch.isfinite(loss))

    def shares(self, masses: Tensor) -> Tensor:
        """(T,) what this process's means over ``masses`` are multiplied by, so that the mean over the processes is that
        over all. masses: (T,) what each mean is taken over."""
        return torch.ones_like(masses)

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """The means over the processes, which have the same names."""
        return dict(values)

    def sum(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sum over the processes."""
        return counts

    def gather(self, value: T) -> list[T]:
        """The processes' values, of which pickles are made, in the order of their ranks."""
        return [value]

    def state(self) -> dict[str, Any]:
        """What a resumed run needs besides network and optimizer: the scale of float16's losses."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a ``state``."""


ONE_PROCESS = Ranks()


class FabricRanks(Ranks):
    """The processes that Fabric runs."""

    def __init__(self, fabric: Fabric, precision: torch.dtype) -> None:
        super().__init__(fabric.device)
        self.fabric, self.precision = fabric, precision
        self.rank, self.size = fabric.global_rank, fabric.world_size

    def setup(
        self, network: SegmentationNetwork, optimizer: torch.optim.Optimizer
    ) -> tuple[Forward, torch.optim.Optimizer]:
        if self.size > 1:
            synchronize_layers(network, self.device)
        module, stepping = self.fabric.setup(_Call(network, self.precision), optimizer)

        def call(batch: Batch) -> NetworkOutput:
            outputs = module(_Sealed(batch))
            self._outputs = torch.stack([tensor.sum() for tensor in outputs.values()]).sum()
            return _from_tensors(outputs)

        return call, stepping

    def backward(self, loss: Tensor) -> None:
        # A head that a pass does not train has a gradient of 0: each backward pass is to reach all parameters.
        self.fabric.backward(loss + 0 * self._outputs)

    def is_finite(self, loss: Tensor) -> bool:
        total = loss.detach().clone()
        if self.size > 1:
            dist.all_reduce(total)
        return bool(torch.isfinite(total))

    def shares(self, masses: Tensor) -> Tensor:
        total = masses.double()
        dist.all_reduce(total)
        return (self.size * masses.double() / total.clamp(min=1e-12)).float()

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        if self.size == 1:
            return dict(values)
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return dict(zip(values, (total / self.size).tolist(), strict=True))

    def sum(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.size == 1:
            return counts
        total = torch.from_numpy(counts).to(self.device)
        dist.all_reduce(total)
        return total.cpu().numpy()

    def gather(self, value: T) -> list[T]:
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def state(self) -> dict[str, Any]:
        return self.fabric.strategy.precision.state_dict()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.fabric.strategy.precision.load_state_dict(dict(state))


def start_ranks(config: FabricConfig, device: torch.device) -> Ranks:
    """This process among those of the run, once all have met.

    device: where to train; with several CUDA devices, each process has its own.
    Raises ConfigError when the settings are not those that ``torchrun`` started the processes with, or when Lightning
    Fabric is needed and is not installed.
    """
    started = dist.is_available() and dist.is_torchelastic_launched()
    local = int(os.environ["LOCAL_WORLD_SIZE"]) if started else 1
    nodes = int(os.environ["WORLD_SIZE"]) // local if started else 1
    for name, given, there in (("devices", config.devices, local), ("num_nodes", config.num_nodes, nodes)):
        if started and given not in (0, there):
            raise ConfigError(f"fabric.{name}: {given}, but torchrun started {there}; leave it at 0 under torchrun")
    devices, nodes = config.devices or local, config.num_nodes or nodes
    if devices * nodes == 1 and config.precision == "float32":
        return Ranks(device)
    if nodes > 1 and not started:
        raise ConfigError("fabric.num_nodes: processes of several machines are started by torchrun on each of them")
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise ConfigError(
            "fabric: several devices and mixed precision need Lightning Fabric: pip install 'sam_adapt_ros[train]'"
        ) from None
    several = devices * nodes > 1
    fabric = Fabric(
        accelerator=device.type,
        devices=devices,
        num_nodes=nodes,
        strategy=_strategy(config.strategy) if several else "auto",
        precision=_OF_FABRIC[config.precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    return FabricRanks(fabric, _PRECISIONS[config.precision])


def is_first_process() -> bool:
    """Whether this is the only process, or the one of a run that speaks to the user."""
    return os.environ.get("RANK", "0") == "0" and os.environ.get("LOCAL_RANK", "0") == "0"


def _strategy(name: str) -> Any:
    from lightning_fabric.strategies import DDPStrategy

    # Buffers are equal already, and sending them before each forward pass would write over those of the pass before.
    known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
    sync = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # its name of old
    options: dict[str, Any] = {"find_unused_parameters": name == "ddp_find_unused_parameters", sync: False}
    return DDPStrategy(**options)


class _Sealed:
    """A batch that Fabric, which looks for tensors in what it passes on, leaves alone."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class _Call(nn.Module):
    """A network's forward pass as Fabric calls it."""

    def __init__(self, network: SegmentationNetwork, precision: torch.dtype) -> None:
        super().__init__()
        self.network, self.precision = network, precision

    def forward(self, sealed: _Sealed) -> dict[str, Tensor]:
        return _to_tensors(forward(self.network, sealed.batch, self.precision))


def _to_tensors(output: NetworkOutput) -> dict[str, Tensor]:
    branches = {branch.module: getattr(output, branch.module) for branch in NETWORK_BRANCHES}
    named = {(name, kind): getattr(each, kind) for name, each in branches.items() if each for kind in _KINDS}
    return {".".join(name): tensor for name, tensor in named.items() if tensor is not None}


def _from_tensors(tensors: Mapping[str, Tensor]) -> NetworkOutput:
    names = [branch.module for branch in NETWORK_BRANCHES if f"{branch.module}.logits" in tensors]
    return NetworkOutput(**{name: BranchOutput(*(tensors.get(f"{name}.{kind}") for kind in _KINDS)) for name in names})  # type: ignore[arg-type]
