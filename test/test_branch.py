"""Branches: plain text in files and logs, and the modules of the network."""

import json

import pytest

from sam_adapt_ros.branch import NETWORK_BRANCHES, Branch
from sam_adapt_ros.config import ArchitectureConfig
from sam_adapt_ros.segmentation.network import Network


def test_a_branch_is_its_value_in_text_keys_and_json() -> None:
    assert [*Branch] == ["2d", "3d", "fused"]
    assert f"{Branch.IMAGE}/{Branch.POINTS:>4}/{Branch.FUSED!s}" == "2d/  3d/fused"
    assert {"2d": 1}[Branch.IMAGE] == {Branch.IMAGE: 1}["2d"] == 1
    for indent in (None, 1):
        assert json.dumps({Branch.FUSED: Branch.IMAGE}, indent=indent) == json.dumps({"fused": "2d"}, indent=indent)


def test_the_branches_with_weights_are_the_modules_of_the_network() -> None:
    network = Network(3, ArchitectureConfig(image_width=32, image_height=32))
    assert [name for name, _ in network.named_children()] == [branch.module for branch in NETWORK_BRANCHES]
    for name in network.state_dict():
        assert name.startswith(f"{Branch.of_tensor(name).module}.")


def test_the_fusion_has_no_module() -> None:
    with pytest.raises(ValueError, match="no module"):
        _ = Branch.FUSED.module
