from pathlib import Path

import pytest

from sam_adapt_ros.town import render_drive


@pytest.fixture(scope="session")
def night_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames of a drive through the town."""
    path = tmp_path_factory.mktemp("town") / "night"
    render_drive("night", seed=8, frames=3, output=path)
    return path
