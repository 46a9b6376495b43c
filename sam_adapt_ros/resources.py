"""Where the files installed with the code (config, launch, weights) are.

Found from the code's own place, so that one rule serves a checkout, a virtual environment and a colcon install,
with or without a sourced ROS distribution.
"""

from functools import cache
from pathlib import Path

PACKAGE = "sam_adapt_ros"


@cache
def share_directory() -> Path:
    """The folder that holds ``config``, ``launch`` and ``resource``."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "package.xml").is_file() and (parent / "config").is_dir():  # a checkout
            return parent
        if (parent / "share" / PACKAGE / "config").is_dir():  # an install prefix
            return parent / "share" / PACKAGE
    raise FileNotFoundError(f"{PACKAGE}'s share folder (config, launch, resource) was not found above {__file__}")


def find(name: str, *folders: str) -> Path:
    """``name`` as a path if it exists, else the file of that name in one of the share directory's ``folders``.

    Raises FileNotFoundError that lists where it was looked for.
    """
    candidates = [Path(name).expanduser(), *(share_directory() / folder / name for folder in folders)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"{name} not found; looked at: {', '.join(dict.fromkeys(map(str, candidates)))}")
