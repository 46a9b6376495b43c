from pathlib import Path

from typer.testing import CliRunner

from sam_adapt_ros import cli
from sam_adapt_ros.bags import BagReader
from sam_adapt_ros.config import Config
from sam_adapt_ros.simulation import frames


def test_several_drives_are_a_folder_of_bags_one_of_each_seed(tmp_path: Path) -> None:
    arguments = ["town", str(tmp_path / "drives"), "--drives", "2", "--seed", "7", "--frames", "1"]
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "drives").iterdir()) == ["day-7", "day-8"]
    for seed in (7, 8):
        with BagReader(tmp_path / "drives" / f"day-{seed}", Config.load("town")) as reader:
            (found,) = reader.frames()
        (rendered,) = frames("day", seed, 1)
        assert len(found.points) == len(rendered.points)
