"""``colcon build`` puts everything where ``ros2 run`` and ``ros2 launch`` look for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from sam_adapt_ros import resources

SOURCE = resources.share_directory()


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Path:
    colcon = shutil.which("colcon", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if colcon is None:
        pytest.skip("colcon is not installed")
    if not (SOURCE / "setup.py").is_file():
        pytest.skip("not a source checkout")
    folder = tmp_path_factory.mktemp("workspace")
    command = [colcon, "--log-base", "log", "build", "--base-paths", str(SOURCE)]
    command += ["--build-base", "build", "--install-base", "install"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "install"


def test_executables_are_in_lib(install: Path) -> None:
    lib = install / "sam_adapt_ros" / "lib" / "sam_adapt_ros"
    executables = {path.name for path in lib.iterdir() if os.access(path, os.X_OK)}
    assert executables == {"adapter", "play_bag", "segmenter", "sam-adapt"}


def test_launch_config_and_rviz_files_are_in_share(install: Path) -> None:
    share = install / "sam_adapt_ros" / "share" / "sam_adapt_ros"
    for folder, patterns in {
        ".": ["package.xml"],
        "launch": ["*.py"],
        "config": ["*.yaml", "*.rviz", "*.xml", "taxonomies/*.yaml", "architectures/*.yaml", "recipes/*.yaml"],
        "resource": ["*.safetensors"],
    }.items():
        for pattern in patterns:
            for path in (SOURCE / folder).glob(pattern):
                installed = share / path.relative_to(SOURCE)
                assert installed.is_file(), installed
                assert installed.read_bytes() == path.read_bytes()
    assert (share / "launch" / "adapt.launch.py").is_file()
    assert (share / "config" / "adapt.rviz").is_file()
    assert (share / "config" / "fastdds.xml").is_file()
    index = install / "sam_adapt_ros" / "share" / "ament_index" / "resource_index" / "packages" / "sam_adapt_ros"
    assert index.is_file()


def test_every_module_is_installed(install: Path) -> None:
    (package,) = (install / "sam_adapt_ros" / "lib").glob("python3*/site-packages/sam_adapt_ros")
    modules = {path.relative_to(SOURCE / "sam_adapt_ros") for path in (SOURCE / "sam_adapt_ros").rglob("*.py")}
    modules |= {path.relative_to(SOURCE / "sam_adapt_ros") for path in (SOURCE / "sam_adapt_ros").rglob("*.j2")}
    assert {module for module in modules if not (package / module).is_file()} == set()


def test_the_sourced_workspace_finds_its_files_and_runs(install: Path) -> None:
    code = (
        "import sam_adapt_ros, sam_adapt_ros.resources as r;"
        "from ament_index_python.packages import get_package_share_directory as share;"
        "print(sam_adapt_ros.__file__); print(r.share_directory()); print(share('sam_adapt_ros'))"
    )
    script = f'source {install}/setup.bash && {sys.executable} -c "{code}" && '
    script += f"{install}/sam_adapt_ros/lib/sam_adapt_ros/sam-adapt play /no/such/bag"
    ran = subprocess.run(["bash", "-c", script], cwd=install, capture_output=True, text=True, timeout=120)
    module, ours, ament = ran.stdout.split()[:3]
    assert module.startswith(str(install))
    assert Path(ours) == Path(ament) == install / "sam_adapt_ros" / "share" / "sam_adapt_ros"
    assert ran.returncode == 1
    assert "/no/such/bag: no such bag" in ran.stderr


def test_colcon_test_runs_pytest() -> None:
    """Without a test dependency on it, ``colcon test`` runs unittest, finds no test and says OK."""
    identification = pytest.importorskip("colcon_python_setup_py.package_identification.python_setup_py")
    from colcon_core.task.python.test import has_test_dependency

    assert has_test_dependency(identification.get_setup_information(SOURCE / "setup.py"), "pytest")


def test_the_manifest_names_what_ros_has_to_bring() -> None:
    manifest = ElementTree.parse(SOURCE / "package.xml").getroot()
    assert manifest.get("format") == "3"
    assert manifest.findtext("export/build_type") == "ament_python"
    named = {element.text for element in manifest if element.tag.endswith("depend")}
    assert named >= {"launch_ros", "launch_pytest", "python3-pytest", "rviz2"}
    imported = set()
    for path in (SOURCE / "sam_adapt_ros" / "nodes").rglob("*.py"):
        for line in path.read_text().splitlines():
            words = line.split()
            if (
                len(words) > 1
                and words[0] in ("import", "from")
                and words[1].split(".")[0].endswith(("_msgs", "rclpy"))
            ):
                imported.add(words[1].split(".")[0])
    assert imported <= named
