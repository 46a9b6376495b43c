"""The order of the rooms: each imports only from rooms above it, and only ``nodes`` knows ROS's client library."""

import ast
from pathlib import Path

import pytest

import sam_adapt_ros

PACKAGE = Path(sam_adapt_ros.__file__).parent
# Each room with those it may import from, beside itself; "" are the base modules.
BASE = {"errors", "resources", "frame", "taxonomy", "config"}
ORDER = [
    "geometry",
    "messages",
    "bags",
    "town",
    "segmentation",
    "masks",
    "pseudo_labels",
    "evaluation",
    "adaptation",
    "replay",
    "adaptive_replay",
    "recovery",
    "drives",
    "pseudo_labelling",
    "nodes",
    "demo",
    "benchmarks",
    "cli",
]
TOWN_USERS = {"drives", "demo", "benchmarks", "cli"}  # a test bed: no product path imports it
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


def room_of(path: Path) -> str:
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
def test_a_module_imports_only_from_rooms_above(path: Path) -> None:
    room = room_of(path)
    allowed = BASE | {"", "__version__"} | set(ORDER[: ORDER.index(room) + 1] if room in ORDER else [])
    for name in imported(path):
        if name.startswith("sam_adapt_ros."):
            other = name.split(".")[1]
            if other in ORDER or other in BASE:
                assert other in allowed, f"{room} must not import {name}"
            if other == "town":
                assert room in TOWN_USERS | {"town"}, f"{room} must not import the town"
        if name.split(".")[0] == "rclpy":
            assert room == "nodes", f"{room} must not import rclpy"


def test_every_room_is_ordered() -> None:
    rooms = {room_of(path) for path in MODULES}
    assert rooms <= set(ORDER) | BASE
