from pathlib import Path

import numpy as np
import pytest

from sam_adapt_ros import resources
from sam_adapt_ros.errors import TaxonomyError
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.taxonomy import IGNORE_COLOR, Taxonomy

SHIPPED = sorted(path.stem for path in (resources.share_directory() / "config" / "taxonomies").glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_class_sets_load(name: str) -> None:
    taxonomy = Taxonomy.load(name)
    assert taxonomy.name == name
    assert taxonomy.palette.shape == (len(taxonomy), 3)
    assert len({tuple(color) for color in taxonomy.palette}) == len(taxonomy)
    for mapping in taxonomy.mappings:
        assert set(np.unique(taxonomy.lookup(mapping))) == {*range(len(taxonomy)), IGNORE} - (
            set(range(len(taxonomy))) - set(taxonomy.mappings[mapping].values())
        )


def test_lookup_ignores_what_is_not_named() -> None:
    taxonomy = Taxonomy("t", ("a", "b"), np.zeros((2, 3), np.uint8), {"raw": {7: 1, 300: 0}})
    table = taxonomy.lookup("raw")
    assert (table[7], table[300], table[0]) == (1, 0, IGNORE)
    identity = taxonomy.lookup("")
    assert identity[:3].tolist() == [0, 1, IGNORE]


def test_unknown_mapping_is_named() -> None:
    with pytest.raises(TaxonomyError, match=r"taxonomy town: no mapping 'mars'"):
        Taxonomy.load("town").lookup("mars")


def test_ignore_has_its_color() -> None:
    assert tuple(Taxonomy.load("town").colors[IGNORE]) == IGNORE_COLOR


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("classes: [{name: a}]", "color"),
        ("classes: [{name: a, color: [1, 2]}]", "three integers"),
        ("classes: [{name: a, color: [1, 2, 300]}]", "0 to 255"),
        ("name: x\nclasses: [{name: a, color: [1, 2, 3]}, {name: a, color: [1, 2, 3]}]", "different names"),
        ("name: x\nclasses: [{name: a, color: [1, 2, 3]}]\nmappings: {m: {b: [1]}}", r"mappings\.m: unknown class"),
        ("[", "not a taxonomy"),
        ("classes: 3", "not a taxonomy"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(TaxonomyError, match=rf"mine\.yaml.*{said}"):
        Taxonomy.load(str(file))


def test_a_missing_class_set_is_named() -> None:
    with pytest.raises(TaxonomyError, match="nowhere not found"):
        Taxonomy.load("nowhere")
