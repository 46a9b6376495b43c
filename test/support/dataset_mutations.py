"""Random damage to a data set's files: cut, flipped, swapped, of other types, gone."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

VALUES: list[Any] = [
    None, True, 0, 1, -1, 7, 255, 256, 2**31, 2**63, 2**70, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"),
    "", "a", "nan", "a/b", "..", "\0", "\ud800", "é" * 300, [], [1.0], [[1.0], 2.0], [[]], {}, {"a": 1},
]  # fmt: skip
WORDS = ["nan", "inf", "-inf", "1e400", "0", "-1", "1e-320", "null", "", "x", "\ufeff", "\0", "9" * 400, "²", "1,0"]


def mutate(root: Path, rng: random.Random) -> str:
    """Damages one file below ``root`` in one way; says which and how."""
    path = rng.choice(sorted(path for path in root.rglob("*") if path.is_file()))
    kinds = [_cut, _flip, _noise, _swap, _rename, _twin, _gone, _folder, _placeholder]
    if path.suffix == ".json":
        kinds += [_json] * 30
    elif path.suffix == ".txt":
        kinds += [_word] * 30
    kind = rng.choice(kinds)
    return f"{kind.__name__} {path.relative_to(root)} {kind(path, root, rng) or ''}"


def _cut(path: Path, root: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def _flip(path: Path, root: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 3, 30])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _noise(path: Path, root: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    at = rng.randrange(len(data))
    path.write_bytes(data[:at] + rng.randbytes(rng.choice([1, 4, 400])) + data[at + rng.choice([0, 4]) :])


def _swap(path: Path, root: Path, rng: random.Random) -> str:
    other = rng.choice(sorted(path for path in root.rglob("*") if path.is_file()))
    a, b = path.read_bytes(), other.read_bytes()
    path.write_bytes(b)
    other.write_bytes(a)
    return str(other.relative_to(root))


def _rename(path: Path, root: Path, rng: random.Random) -> str:
    name = rng.choice(["x", f"._{path.name}", "12.bin", "0000000001.png", "²" + path.suffix, path.stem + ".zip"])
    path.rename(path.with_name(name))
    return name


def _twin(path: Path, root: Path, rng: random.Random) -> str:
    twin = path.with_suffix(rng.choice([".jpg", ".bin", ".txt", ".JSON"]))
    if not twin.exists():
        twin.write_bytes(path.read_bytes())
    return twin.name


def _gone(path: Path, root: Path, rng: random.Random) -> None:
    path.unlink()


def _folder(path: Path, root: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _placeholder(path: Path, root: Path, rng: random.Random) -> None:
    path.write_text(rng.choice(["<html></html>", "version https://git-lfs.github.com/spec/v1\noid", "{}", "[]", "[1]"]))


def _word(path: Path, root: Path, rng: random.Random) -> str:
    words = re.split(r"(\s+)", path.read_text())
    at, word = rng.randrange(len(words)), rng.choice([*WORDS, *words])
    words[at] = word
    path.write_text("".join(words))
    return repr(word[:30])


def _json(path: Path, root: Path, rng: random.Random) -> str:
    rows = json.loads(path.read_text())
    if isinstance(rows, dict) and rng.random() < 0.9:
        what = _value_inside(rows, rng)
        path.write_text(json.dumps(rows))
        return what
    if not isinstance(rows, list) or not rows:
        path.write_text(rng.choice(["[" * 100_000, "[" + "9" * 5000 + "]", "null", '[{"token": 1']))
        return "malformed"
    row = rng.randrange(len(rows))
    field = rng.choice(list(rows[row]))
    kind = rng.choice(["value", "value", "value", "missing", "inner", "row", "twin", "gone"])
    value = rng.choice([*VALUES, *rows[rng.randrange(len(rows))].values()])
    if kind == "value":
        rows[row][field] = value
    elif kind == "missing":
        del rows[row][field]
    elif kind == "inner" and isinstance(rows[row][field], list) and rows[row][field]:
        rows[row][field][rng.randrange(len(rows[row][field]))] = value
    elif kind == "row":
        rows[row] = value
    elif kind == "twin":
        rows.append(rows[row])
    else:
        del rows[row]
    path.write_text(json.dumps(rows))
    return f"{kind} {field} {str(value)[:30]!r}"


def _value_inside(content: Any, rng: random.Random) -> str:
    """Replaces or takes away a value somewhere in nested objects and lists."""
    key = rng.choice(list(content) if isinstance(content, dict) else range(len(content)))
    inner = content[key]
    if isinstance(inner, dict | list) and inner and rng.random() < 0.8:
        return f"{key}.{_value_inside(inner, rng)}"
    if rng.random() < 0.3:
        del content[key]
        return f"{key} gone"
    content[key] = rng.choice(VALUES)
    return f"{key} {str(content[key])[:30]!r}"
