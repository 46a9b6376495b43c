"""The networks by name: the package's own, and those that installed packages register.

A package registers a network of its own in the entry point group ``sam_adapt_ros.networks``. Weights files name the
network that they are of, so nothing else has to be set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points

import torch

from sam_adapt_ros.branch import NETWORK_BRANCHES
from sam_adapt_ros.config import ArchitectureConfig, SegmenterConfig
from sam_adapt_ros.errors import ConfigError, SamAdaptError
from sam_adapt_ros.segmentation.device import out_of_memory
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.segmentation_network import SegmentationNetwork

GROUP = "sam_adapt_ros.networks"

NetworkFactory = Callable[[int, ArchitectureConfig], SegmentationNetwork]
"""Number of classes, architecture -> a network with random weights, on the CPU. What an entry point names."""

BUILT_IN: dict[str, NetworkFactory] = {"xmuda": Network}


def build(classes: int, architecture: ArchitectureConfig) -> SegmentationNetwork:
    """The network that ``architecture.network`` names, with random weights, on the CPU.

    Raises ConfigError when no package registers it, or when it cannot be built or breaks the interface's rules.
    """
    name = architecture.network
    factory = BUILT_IN.get(name) or _registered(name)
    with _named(name, "cannot be built"):
        network = factory(classes, architecture)
    if fault := _fault(network, classes, architecture):
        raise ConfigError(f"architecture.network: {name}: {fault}; docs/networks.md has the rules")
    return network


def configure(network: SegmentationNetwork, config: SegmenterConfig, device: torch.device) -> None:
    """Tells a network where it is going to compute. Raises ConfigError that names it, whatever its code raises."""
    with _named(network.architecture.network, "configure", device.type):
        network.configure(config, device)


def prepare(network: SegmentationNetwork, device: torch.device) -> SegmentationNetwork:
    """The network to label frames with, see its ``prepare_for_inference``. Raises ConfigError as ``configure``."""
    name = network.architecture.network
    with _named(name, "prepare_for_inference", device.type):
        prepared = network.prepare_for_inference(device)
    if getattr(prepared, "branches", None) != network.branches:
        got = type(prepared).__name__
        raise ConfigError(f"architecture.network: {name}: prepare_for_inference: a network expected, got {got}")
    return prepared


@contextmanager
def _named(name: str, what: str, device: str = "cpu") -> Iterator[None]:
    """Turns what a network's code raises into a ConfigError; that a GPU has no memory is left to whoever can do
    without."""
    try:
        yield
    except SamAdaptError:
        raise
    except Exception as error:  # the network's code is not ours
        if device != "cpu" and out_of_memory(error):
            raise
        raise ConfigError(f"architecture.network: {name}: {what}: {type(error).__name__}: {error}") from error


def _registered(name: str) -> NetworkFactory:
    found = entry_points(group=GROUP)
    # A package that two folders of the path hold registers the same twice.
    values: dict[str, EntryPoint] = {entry.value: entry for entry in found.select(name=name)}
    if len(values) > 1:
        raise ConfigError(f"architecture.network: {name}: registered by several packages: {', '.join(sorted(values))}")
    if not values:
        known = ", ".join(sorted({*BUILT_IN, *found.names}))
        raise ConfigError(
            f"architecture.network: no network {name!r} is installed (there are {known}); install the package that "
            f"registers it in the entry point group {GROUP}"
        )
    ((value, entry),) = values.items()
    try:
        return entry.load()
    except Exception as error:  # the package's code is not ours
        text = f"{type(error).__name__}: {error}"
        raise ConfigError(f"architecture.network: {name}: {value} cannot be imported: {text}") from error


def _fault(network: object, classes: int, architecture: ArchitectureConfig) -> str:
    """Which of the interface's rules a network breaks; "" if none."""
    if not isinstance(network, SegmentationNetwork):
        return f"a SegmentationNetwork expected, got {type(network).__name__}"
    if network.classes != classes or network.architecture != architecture:
        return "classes and architecture have to be those that it was built with"
    branches = tuple(branch for branch in NETWORK_BRANCHES if branch in network.branches)
    if not branches or len(branches) != len(network.branches):
        return f"branches: some of {[branch.name for branch in NETWORK_BRANCHES]} expected, got {network.branches}"
    prefixes = tuple(f"{branch.module}." for branch in branches)
    state = network.state_dict()
    for name in state:
        if not name.startswith(prefixes):
            return f"{name}: names of tensors that begin with {' or '.join(prefixes)} expected"
    for branch, layer in network.classifiers.items():
        if branch not in branches or not layer.startswith(f"{branch.module}.") or f"{layer}.weight" not in state:
            return f"classifiers: {branch.name}: a layer of the branch with a weight expected, got {layer}"
    return ""
