"""Where the files installed with the code (config, launch, weights) are, and what the names and paths that users give
mean.

The installed files are found from the code's own place, so that one rule serves a checkout, a virtual environment and a
colcon install, with or without a sourced ROS distribution.
"""

import os
from functools import cache
from pathlib import Path

from sam_adapt_ros.errors import ConfigError

PACKAGE = "sam_adapt_ros"
YAML = (".yaml", ".yml")


@cache
def share_directory() -> Path:
    """The folder that holds ``config``, ``launch`` and ``resource``."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "package.xml").is_file() and (parent / "config").is_dir():  # a checkout
            return parent
        if (parent / "share" / PACKAGE / "config").is_dir():  # an install prefix
            return parent / "share" / PACKAGE
    raise FileNotFoundError(f"{PACKAGE}'s share folder (config, launch, resource) was not found above {__file__}")


def find(name: str, folder: str, suffixes: tuple[str, ...] = YAML) -> Path:
    """A file of the package by its name, or any file by its path.

    ``town`` is the package's ``town.yaml``, whatever files the working folder holds. What has a slash or ends with one
    of the suffixes is a path. A file name that the working folder does not have is looked for in the package.

    Args:
        folder: of the share directory. suffixes: of such files; the package's have the first one.

    Raises:
        FileNotFoundError: tells where it was looked for, and what the package has.
        ConfigError: the path is below a home folder that is not known.
    """
    package, path = share_directory() / folder, Path(expand_home(name))
    is_file_name = path.suffix in suffixes
    if path.name == name and not is_file_name:
        candidates = [package / f"{name}{suffixes[0]}"]
    elif path.name == name:
        candidates = [path, package / name]
    else:
        candidates = [path] if is_file_name else [path, Path(f"{path}{suffixes[0]}")]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(file.stem for file in package.glob(f"*{suffixes[0]}")))
    looked_at = ", ".join(map(str, candidates))
    raise FileNotFoundError(
        f"{name} not found; looked at: {looked_at}. The package has {known}; another file is given by its path, such "
        f"as ./my{suffixes[0]}"
    )


def expand_home(path: str) -> str:
    """``~`` or ``~user`` at the beginning of a path is that user's home folder. Raises ConfigError if it has none."""
    expanded = os.path.expanduser(path)  # noqa: PTH111 (Path normalizes "./a" to "a", which is a name)
    if path.startswith("~") and expanded == path:
        user = path.partition("/")[0]
        raise ConfigError(f"{path}: the home folder {user} is not known; give the path without {user}")
    return expanded


def user_folder(variable: str, default: str) -> Path:
    """A folder that an environment variable names, or else one in the home folder. Raises ConfigError where there is
    neither."""
    try:
        return Path(expand_home(os.environ.get(variable) or f"~/{default}"))
    except ConfigError:
        raise ConfigError(f"no home folder is known: set HOME, or {variable} to a folder that can be written") from None
