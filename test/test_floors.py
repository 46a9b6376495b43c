"""The floors of the house: each imports only from floors below it, and only ``nodes`` knows ROS's client library."""

import ast
import graphlib
from pathlib import Path

import pytest

import sam_adapt_ros

PACKAGE = Path(sam_adapt_ros.__file__).parent
GROUND = {"branch", "cancellation", "errors", "resources", "frame", "taxonomy", "progress", "notices", "config"}
# From the ground floor upwards; see docs/development.md.
FLOORS = [
    "io",
    "parallel",
    "geometry",
    "messages",
    "bags",
    "datasets",
    "simulation",
    "segmentation",
    "evaluation",
    "training",
    "masks",
    "pseudo_labels",
    "adaptation",
    "visualization",
    "nodes",
    "pipelines",
    "benchmarks",
    "cli",
]
USERS_OF_SIMULATION = {"simulation", "pipelines", "benchmarks", "cli"}  # a test bed: no node and no library imports it
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


def floor_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, type-checking imports left out."""
    names: set[str] = set()
    stack: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        stack.extend(ast.iter_child_nodes(node))
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_floors_below(path: Path) -> None:
    floor = floor_of(path)
    allowed = GROUND | {"__version__"} | set(FLOORS[: FLOORS.index(floor) + 1] if floor in FLOORS else [])
    for name in imported(path):
        if name.startswith("sam_adapt_ros."):
            other = name.split(".")[1]
            if other in FLOORS or other in GROUND:
                assert other in allowed, f"{floor} must not import {name}"
            if other == "simulation":
                assert floor in USERS_OF_SIMULATION, f"{floor} must not import the simulator"
        if name.split(".")[0] == "rclpy":
            assert floor == "nodes", f"{floor} must not import rclpy"


def test_no_modules_import_each_other() -> None:
    """Type-checking imports and imports inside functions included, since a reader follows them as well."""
    modules = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in MODULES}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        graph[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                graph[name] |= {each if each in modules else node.module for each in names}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


def test_every_folder_is_a_floor() -> None:
    assert {floor_of(path) for path in MODULES} <= set(FLOORS) | GROUND
