"""What is installed without extras is enough: spconv and others are asked for by extras alone, and imported by whoever
uses them, when it does."""

import ast
import re
from collections.abc import Iterator
from distutils.core import run_setup
from pathlib import Path

import pytest

import sam_adapt_ros

PACKAGE = Path(sam_adapt_ros.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
OPTIONAL = {"spconv", "cumm", "sam2", "mobile_sam", "ray", "lightning_fabric", "tensorboard", "rerun"}
"""What the extras bring, by the names that it is imported by."""
USERS = {
    "sam_adapt_ros.segmentation.spconv_backend": "spconv",
    "sam_adapt_ros.masks.sam2_model": "sam2",
}
"""Modules that import some of it at once, and are therefore imported only where they are needed."""


def imported_at_once(node: ast.AST) -> Iterator[str]:
    """Names of the modules that importing a module imports."""
    for child in ast.iter_child_nodes(node):
        typing = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if typing or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from imported_at_once(child)


def test_nothing_needs_what_extras_bring() -> None:
    found: dict[str, set[str]] = {}
    for path in MODULES:
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        names = set(imported_at_once(ast.parse(path.read_text(encoding="utf-8"))))
        found[module] = OPTIONAL & {name.partition(".")[0] for name in names}
        for user in USERS:
            assert not any(name == user or name.startswith(f"{user}.") for name in names), f"{module} imports {user}"
    assert {module: names for module, names in found.items() if names} == {
        module: {name} for module, name in USERS.items()
    }


def test_spconv_comes_by_its_extras_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    root = PACKAGE.parent
    if not (root / "setup.py").is_file():
        pytest.skip("the package is installed, not a checkout")
    monkeypatch.chdir(root)
    setup = run_setup("setup.py", stop_after="init")
    extras = {extra for extra, needed in setup.extras_require.items() if any("spconv" in each for each in needed)}
    assert extras == {"cuda", "spconv"}
    required = {re.split(r"[\W]", each)[0] for each in setup.install_requires}
    assert {"torch", "numpy", "numba"} <= required
    assert not required & {"spconv", "cumm", "sam2", "mobilesam", "ray", "lightning", "tensorboard", "rerun"}
