"""Threads of native libraries that are loaded already, and so look at no environment variable any more."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

_MAPS = Path("/proc/self/maps")
_OPENBLAS = tuple(f"{prefix}openblas_set_num_threads{suffix}" for prefix in ("", "scipy_") for suffix in ("", "64_"))
_OPENMP = ("omp_set_num_threads",)


def limit_blas(threads: int) -> None:
    """Of every OpenBLAS, for all threads that call it: NumPy, SciPy and OpenCV bring one each."""
    _call(r"/lib[^/]*openblas[^/]*\.so[^/]*$", _OPENBLAS, threads)


def limit_openmp(threads: int) -> None:
    """Of every OpenMP runtime, for the thread that calls this: PyTorch and spconv bring one each."""
    _call(r"/lib[gi]?omp[^/]*\.so[^/]*$", _OPENMP, threads)


def _call(pattern: str, functions: tuple[str, ...], threads: int) -> None:
    """Calls those of the functions that loaded libraries have; does nothing where the system does not list them."""
    if not _MAPS.is_file():
        return
    lines = (line.split(maxsplit=5) for line in _MAPS.read_text(encoding="utf-8", errors="replace").splitlines())
    paths = {fields[5] for fields in lines if len(fields) == 6}
    for path in sorted(path for path in paths if re.search(pattern, path)):
        try:
            library = ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_NOLOAD)
        except OSError:  # another file has taken its place since
            continue
        for function in functions:
            if hasattr(library, function):
                getattr(library, function)(ctypes.c_int(threads))
