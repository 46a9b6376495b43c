from __future__ import annotations

from pathlib import Path

import yaml
from node_support import make_config

from sam_adapt_ros.config import Config
from sam_adapt_ros.nodes.tools.node_process import parameter_file


def test_a_parameter_file_holds_the_configuration(tmp_path: Path) -> None:
    config = make_config(Path("/w"), Path(), ("front",))
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(parameter_file(config)))
    assert Config.load(str(path)) == config
