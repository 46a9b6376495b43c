import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sam_adapt_ros.simulation import domains, domains_hash, version


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> None:
    domains_hash.cache_clear()


def test_the_hash_is_of_every_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    before = domains_hash()
    assert len(before) == 64 and int(before, 16)
    assert domains_hash() == before
    monkeypatch.setitem(domains._SHIFTS, "night", lambda domain: replace(domain, night=True, glare=1e-6))
    domains_hash.cache_clear()
    assert domains_hash() != before


def test_the_hash_is_of_every_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = domains_hash()
    copy = tmp_path / "simulation"
    shutil.copytree(Path(version.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(version, "_folder", lambda: copy)
    domains_hash.cache_clear()
    assert domains_hash() == before  # wherever the package is installed
    for name in ("raycast.py", "shading.py", "domains.py"):
        text = (copy / name).read_text()
        (copy / name).write_text(text + "A = 1\n")
        domains_hash.cache_clear()
        assert domains_hash() != before, name
        (copy / name).write_text(text)
    (copy / "another.py").touch()
    domains_hash.cache_clear()
    assert domains_hash() != before
