"""The benchmarks' class sets against the data sets' own tables of names."""

import numpy as np
import pytest

from sam_adapt_ros.datasets import a2d2_classes, virtual_kitti
from sam_adapt_ros.frame import IGNORE
from sam_adapt_ros.taxonomy import Taxonomy

LIDARSEG = [
    "noise",
    "animal",
    "adult",
    "child",
    "construction_worker",
    "personal_mobility",
    "police_officer",
    "stroller",
    "wheelchair",
    "barrier",
    "debris",
    "pushable_pullable",
    "trafficcone",
    "bicycle_rack",
    "bicycle",
    "bus.bendy",
    "bus.rigid",
    "car",
    "construction",
    "ambulance",
    "police",
    "motorcycle",
    "trailer",
    "truck",
    "driveable_surface",
    "flat.other",
    "sidewalk",
    "terrain",
    "manmade",
    "static.other",
    "vegetation",
    "ego",
]
SEMANTICKITTI = {
    0: "unlabeled", 1: "outlier", 10: "car", 11: "bicycle", 13: "bus", 15: "motorcycle", 16: "on-rails", 18: "truck",
    20: "other-vehicle", 30: "person", 31: "bicyclist", 32: "motorcyclist", 40: "road", 44: "parking", 48: "sidewalk",
    49: "other-ground", 50: "building", 51: "fence", 52: "other-structure", 60: "lane-marking", 70: "vegetation",
    71: "trunk", 72: "terrain", 80: "pole", 81: "traffic-sign", 99: "other-object", 252: "moving-car",
    253: "moving-bicyclist", 254: "moving-person", 255: "moving-motorcyclist", 256: "moving-on-rails",
    257: "moving-bus", 258: "moving-truck", 259: "moving-other-vehicle",
}  # fmt: skip
VKITTI = [
    "Terrain",
    "Tree",
    "Vegetation",
    "Building",
    "Road",
    "GuardRail",
    "TrafficSign",
    "TrafficLight",
    "Pole",
    "Misc",
    "Truck",
    "Car",
    "Van",
    "DontCare",
]

A2D2 = [
    "Car 1", "Car 2", "Car 3", "Car 4", "Bicycle 1", "Bicycle 2", "Bicycle 3", "Bicycle 4", "Pedestrian 1",
    "Pedestrian 2", "Pedestrian 3", "Truck 1", "Truck 2", "Truck 3", "Small vehicles 1", "Small vehicles 2",
    "Small vehicles 3", "Traffic signal 1", "Traffic signal 2", "Traffic signal 3", "Traffic sign 1", "Traffic sign 2",
    "Traffic sign 3", "Utility vehicle 1", "Utility vehicle 2", "Sidebars", "Speed bumper", "Curbstone", "Solid line",
    "Irrelevant signs", "Road blocks", "Tractor", "Non-drivable street", "Zebra crossing", "Obstacles / trash", "Poles",
    "RD restricted area", "Animals", "Grid structure", "Signal corpus", "Drivable cobblestone", "Electronic traffic",
    "Slow drive area", "Nature object", "Parking area", "Sidewalk", "Ego car", "Painted driv. instr.",
    "Traffic guide obj.", "Dashed line", "RD normal street", "Sky", "Buildings", "Blurred area", "Rain dirt",
]  # fmt: skip

PANDASET = [
    "unlabelled", "smoke", "exhaust", "spray", "reflection", "vegetation", "ground", "road", "lane-line", "stop-line",
    "other-marking", "sidewalk", "driveway", "car", "pickup", "medium-truck", "semi-truck", "towed-object",
    "motorcycle", "construction", "uncommon", "pedicab", "emergency", "bus", "mobility-device", "scooter", "bicycle",
    "train", "trolley", "tram", "pedestrian", "pedestrian-with-object", "bird", "animal", "pylon", "road-barrier",
    "sign", "cone", "construction-sign", "temporary-barrier", "rolling-container", "building", "other-static",
]  # fmt: skip

CASES = {
    ("town", "semantickitti"): "unlabeled outlier bicycle motorcycle bicyclist motorcyclist moving-bicyclist "
    "moving-motorcyclist other-ground fence other-structure traffic-sign other-object",
    (
        "town",
        "pandaset",
    ): "unlabelled smoke exhaust spray reflection motorcycle pedicab mobility-device scooter bicycle "
    "train trolley tram bird animal pylon road-barrier sign cone construction-sign temporary-barrier rolling-container "
    "other-static",
    ("nuscenes6", "nuscenes_lidarseg"): "noise animal adult child construction_worker personal_mobility police_officer "
    "stroller wheelchair barrier debris pushable_pullable trafficcone bicycle_rack ambulance police flat.other "
    "static.other ego",
    ("nuscenes16", "nuscenes_lidarseg"): "noise animal personal_mobility stroller wheelchair debris pushable_pullable "
    "bicycle_rack ambulance police static.other ego",
    ("vkitti_semantickitti6", "vkitti"): "Van GuardRail DontCare",
    (
        "a2d2_semantickitti10",
        "a2d2",
    ): "Utility_vehicle_1 Utility_vehicle_2 Tractor Non-drivable_street Sky Blurred_area Rain_dirt",
    ("a2d2_semantickitti10", "semantickitti"): "unlabeled outlier bus on-rails other-vehicle other-ground "
    "other-structure moving-on-rails moving-bus moving-other-vehicle",
    ("vkitti_semantickitti6", "semantickitti"): "unlabeled outlier bus on-rails other-vehicle other-ground "
    "other-structure moving-on-rails moving-bus moving-other-vehicle person moving-person bicycle motorcycle bicyclist "
    "motorcyclist moving-bicyclist moving-motorcyclist parking sidewalk",
}
NAMES = {
    "nuscenes_lidarseg": dict(enumerate(LIDARSEG)),
    "semantickitti": SEMANTICKITTI,
    "vkitti": dict(enumerate(VKITTI)),
    "a2d2": {place: name.replace(" ", "_") for place, name in enumerate(A2D2)},
    "pandaset": dict(enumerate(PANDASET)),
}
LACKING = {("town", "pandaset"): {"pole"}}
"""Classes that a data set has nothing of."""
RENAMED = {
    "town": {"parking": "road", "trunk": "vegetation", "on-rails": "vehicle", "lane-line": "road", "ground": "terrain"},
    "nuscenes6": {"car": "vehicle", "truck": "vehicle", "bus.rigid": "vehicle", "trailer": "vehicle"},
    "nuscenes16": {
        "adult": "pedestrian",
        "bus.bendy": "bus",
        "flat.other": "other_flat",
        "trafficcone": "traffic_cone",
    },
    "vkitti_semantickitti6": {"trunk": "vegetation_terrain", "Tree": "vegetation_terrain", "Misc": "object"},
    "a2d2_semantickitti10": {
        **{"moving-bicyclist": "bike", "trunk": "nature", "fence": "other-objects"},
        **{"Ego_car": "car", "Truck_2": "truck", "Small_vehicles_3": "bike", "Pedestrian_1": "person"},
        **{"Dashed_line": "road", "Painted_driv._instr.": "road", "Parking_area": "parking", "Curbstone": "sidewalk"},
        **{"Buildings": "building", "Nature_object": "nature", "Grid_structure": "other-objects"},
        **{"Speed_bumper": "other-objects", "Poles": "other-objects", "Drivable_cobblestone": "road"},
    },
}


@pytest.mark.parametrize(("name", "mapping"), list(CASES))
def test_ignored_ids_are_those_the_benchmark_names(name: str, mapping: str) -> None:
    table = Taxonomy.load(name).lookup(mapping)
    ignored = {text for raw, text in NAMES[mapping].items() if table[raw] == IGNORE}
    assert ignored == set(CASES[name, mapping].split())
    assert (np.delete(table, list(NAMES[mapping])) == IGNORE).all()


@pytest.mark.parametrize(("name", "mapping"), list(CASES))
def test_ids_keep_their_names(name: str, mapping: str) -> None:
    taxonomy = Taxonomy.load(name)
    table = taxonomy.lookup(mapping)
    for raw, text in NAMES[mapping].items():
        plain = text.removeprefix("moving-").lower()
        expected = RENAMED[name].get(text, plain if plain in taxonomy.classes else None)
        if expected is not None:
            assert taxonomy.classes[table[raw]] == expected, text
    lacking = {taxonomy.classes.index(each) for each in LACKING.get((name, mapping), ())}
    assert set(table[list(NAMES[mapping])]) - {IGNORE} == set(range(len(taxonomy))) - lacking


@pytest.mark.parametrize("name", ["town", "nuscenes6", "nuscenes16", "vkitti_semantickitti6", "a2d2_semantickitti10"])
def test_mappings_name_every_id_of_their_data_set_and_no_other(name: str) -> None:
    for mapping, named in Taxonomy.load(name).mappings.items():
        assert set(named) == set(NAMES[mapping]), mapping


def test_readers_have_the_data_sets_names() -> None:
    """Places are ids: a name that is missing or moved would shift the classes of all others."""
    assert list(a2d2_classes.CLASSES) == A2D2
    assert [name.replace("Don't care", "DontCare") for name in virtual_kitti.CATEGORIES] == VKITTI
    assert len(set(a2d2_classes.COLORS.values())) == len(A2D2)
    colors = {name: a2d2_classes.rgb(color) for name, color in a2d2_classes.COLORS.items()}
    some = {"Car 2": (200, 0, 0), "Curbstone": (128, 128, 0), "Sky": (135, 206, 255), "Rain dirt": (53, 46, 82)}
    assert {name: colors[name] for name in some} == some
