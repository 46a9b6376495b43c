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


def ids(*values: int, kind: str = "i8") -> np.ndarray:
    return np.array(values, kind)


def test_ids_become_classes_by_a_mapping() -> None:
    town = Taxonomy.load("town")
    assert town.classes_of(ids(0, 7, 255, kind="u1"), "").tolist() == [0, 7, IGNORE]
    assert town.classes_of(ids(0, 7, -1, 41, 13, 255), "pandaset").tolist() == [IGNORE, 0, IGNORE, 3, 5, IGNORE]
    kitti = town.classes_of(ids(80, 254, 259, 0, 255, kind="u4"), "semantickitti")
    assert kitti.tolist() == [7, 6, 5, IGNORE, IGNORE] and kitti.dtype == np.uint8


@pytest.mark.parametrize("kind", ["u4", "i8", "i4"])
def test_an_instance_in_the_upper_16_bits_is_left_out(kind: str) -> None:
    """SemanticKITTI's labels; as int32 instances from 32768 on make them negative."""
    raw = (ids(10, 40, 252) | ids(1, 0, 40_000) << 16).astype("u4").astype(kind)
    assert Taxonomy.load("town").classes_of(raw, "semantickitti").tolist() == [5, 0, 5]


@pytest.mark.parametrize(
    ("found", "mapping", "said"),
    [
        ([0, 7, 41, 42], "", "class ids 41, 42 are no classes of taxonomy town (0 to 7); set "
         "ground_truth.mapping to pandaset"),
        ([0, 24, 30], "", "set ground_truth.mapping to nuscenes_lidarseg or pandaset"),
        ([0, 40, 70, 259], "", "set ground_truth.mapping to semantickitti"),
        ([0, 40, 70, 259], "nuscenes_lidarseg", "class ids 40, 70, 259 are not in the mapping nuscenes_lidarseg of "
         "taxonomy town; set ground_truth.mapping to semantickitti"),
        ([17_001, 24_000], "nuscenes_lidarseg", "none of the mappings of town explains them (nuscenes_lidarseg, "),
        ([-2], "", "class ids 65534"),
        (list(range(100)), "", "class ids 8, 9, 10, 11, 12, 13, 14, 15, ... are"),
    ],
)  # fmt: skip
def test_foreign_ids_are_named_with_the_mapping_that_explains_them(found: list, mapping: str, said: str) -> None:
    with pytest.raises(TaxonomyError) as caught:
        Taxonomy.load("town").classes_of(ids(*found), mapping)
    assert said in str(caught.value)


def test_a_mapping_without_ignored_ids_ignores_all_others() -> None:
    taxonomy = Taxonomy("t", ("a", "b"), np.zeros((2, 3), np.uint8), {"raw": {7: 1, 300: 0}})
    assert taxonomy.classes_of(ids(7, 300, 5, 255), "raw").tolist() == [1, 0, IGNORE, IGNORE]
    with pytest.raises(TaxonomyError, match="none of the mappings of t explains"):
        taxonomy.classes_of(ids(7, 5), "")
    with pytest.raises(TaxonomyError, match=r"set ground_truth\.mapping to raw"):
        taxonomy.classes_of(ids(7, 300), "")


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
        ("name: x\nclasses: [{name: a, color: [1, 2, 3]}]\nmappings: {m: {a: [1], ignored: [1]}}", "each once"),
        ("name: x\nclasses: [{name: a, color: [1, 2, 3]}]\nmappings: {m: {a: [65536]}}", "0 to 65535"),
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
