"""The example package with a network of one's own, installed as a user installs it; its weights."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from learning_support import SHAPES, trained
from small_network import TINY

from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.segmentation import networks
from sam_adapt_ros.segmentation.segmentation_network import SegmentationNetwork
from sam_adapt_ros.segmentation.weights import Weights

SOURCE = Path(__file__).parents[1] / "example_network"


@pytest.fixture(scope="session")
def example_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the package is installed in, on the path of this process and of those that it starts."""
    folder = tmp_path_factory.mktemp("site")
    source = shutil.copytree(SOURCE, folder / "source")  # building leaves files beside it
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(folder / "installed")]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True, timeout=120)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "installed")
        paths = [str(folder / "installed"), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        yield folder / "installed"


def architecture(name: str = "example", branches: Sequence[str] = ("image", "points")) -> ArchitectureConfig:
    return TINY.model_copy(update={"network": name, "options": {"branches": list(branches)}})


def example_weights(branches: Sequence[str] = ("image", "points"), name: str = "example") -> Weights:
    """Trained on days in the small world of ``learning_support``."""
    torch.manual_seed(0)
    network = trained(networks.build(len(SHAPES), architecture(name, branches)))
    return weights_of(network)


def weights_of(network: SegmentationNetwork) -> Weights:
    return Weights(network.state_dict(), SHAPES.name, SHAPES.classes, network.architecture)
