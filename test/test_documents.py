"""The documents name parameters and files that are there."""

import re
from pathlib import Path

import pytest

from sam_adapt_ros.config import Config, reference

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
PLACES = (ROOT, ROOT / "sam_adapt_ros", ROOT / "sam_adapt_ros" / "pseudo_labels")


def words(document: Path) -> list[str]:
    """What is set as code in the running text, ``a.{b,c}`` as ``a.b`` and ``a.c``."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found = []
    for word in re.findall(r"`([^`]+)`", text):
        start, brace, choices = word.rstrip("}").partition("{")
        found += [start + choice for choice in choices.split(",")] if brace else [word]
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_parameters_are_in_the_schema(document: Path) -> None:
    groups = list(reference.groups())
    known = {group.name for group in groups} | {each.name for group in groups for each in group.parameters}
    names = {re.split("[=: ]", word)[0] for word in words(document)}
    names = {name for name in names if "." in name and name.partition(".")[0] in Config.model_fields}
    assert {name for name in names - known if not name.endswith(".py")} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_are_there(document: Path) -> None:
    named = [word for word in words(document) if re.fullmatch(r"[\w/]+\.(py|yaml|xml)", word)]
    own = [word for word in named if "/" in word or word.endswith(".py")]
    assert [word for word in own if not any((place / word).is_file() for place in PLACES)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
