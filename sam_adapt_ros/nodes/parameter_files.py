"""The parameter files that nodes are started with, in the form that ROS 2's client library can read.

The library refuses empty lists and sections, lists of integers and floats, aliases, and files without
``ros__parameters``, all of which our own reader takes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sam_adapt_ros.config import Config, ParameterFile, flatten, reference
from sam_adapt_ros.config.parameter_file import dump
from sam_adapt_ros.errors import ConfigError


@contextmanager
def readable_parameter_files(arguments: Sequence[str]) -> Iterator[list[str]]:
    """The arguments with other files, which last as long as the context, after ``--params-file``.

    Raises ConfigError that names the file and what does not fit.
    """
    with ExitStack() as stack:
        changed = list(arguments)
        for index, argument in enumerate(arguments[:-1]):
            if argument == "--params-file":
                text = normalized(Path(arguments[index + 1]))
                # Without a name: a process that is killed leaves nothing behind.
                file = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
                file.write(text)
                file.flush()
                changed[index + 1] = f"/dev/fd/{file.fileno()}"
        yield changed


def parameter_text(config: Config, of_ros: Mapping[str, Any] | None = None) -> str:
    """A parameter file for any node that holds the configuration; defaults are left out.

    of_ros: parameters that are not the schema's, such as ``use_sim_time``.
    """
    return dump({**flatten(config.model_dump(exclude_defaults=True)), **(of_ros or {})})


def normalized(path: Path) -> str:
    """The content of a parameter file: the same sections with the same values, as ROS's client library reads them."""
    file = ParameterFile.read(path)
    for values in file.sections.values():
        for name, value in values.items():
            if value is None and _is_parameter(name):
                raise ConfigError(f"{path}: {name}: a value expected, got nothing")
    return "".join(dump(values, pattern) for pattern, values in file.sections.items())


def _is_parameter(name: str) -> bool:
    try:
        reference.find_parameter(name)
    except KeyError:
        return False
    return True
