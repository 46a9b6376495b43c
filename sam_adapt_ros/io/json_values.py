"""Values that JSON can hold, made of nested mappings, sequences and NumPy values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def json_values(value: Any) -> Any:
    """The same with arrays as lists, not-a-number and infinity as null, and everything unknown as text."""
    if isinstance(value, Mapping):
        return {str(key): json_values(entry) for key, entry in value.items()}
    if hasattr(value, "tolist"):
        return json_values(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [json_values(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
