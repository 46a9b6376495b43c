"""Functions that Numba compiles, kept on disk for other processes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from numba import njit

logger = logging.getLogger(__name__)


def compiled(function: Callable) -> Callable:
    """Compiled at the first call, and kept on disk for other processes if a folder can be written.

    Numba's cache notices changes of the function's own file only: what a function calls belongs into the same file.
    """
    try:
        return njit(cache=True)(function)
    except RuntimeError:
        _warn_of_no_cache()
        return njit(function)


@functools.cache
def _warn_of_no_cache() -> None:
    logger.warning(
        "Neither the package's folder nor the user's cache folder can be written: propagation and masks' run lengths "
        "are compiled anew in every process, which takes some seconds. NUMBA_CACHE_DIR names another folder."
    )
