"""What a worker process reads of each data set: frames a second on one core, decoded and with their labels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from sam_adapt_ros.benchmarks import Figure, real_data
from sam_adapt_ros.benchmarks.timing import cpu_milliseconds
from sam_adapt_ros.config import Config
from sam_adapt_ros.datasets import Bags, Dataset, KittiRaw, NuScenes, Selection, SemanticKitti, open_dataset
from sam_adapt_ros.pipelines.layouts import town_layout
from sam_adapt_ros.taxonomy import Taxonomy

_FRONT = Selection(cameras=("CAM_FRONT",), allow_missing=True)


def run(quick: bool = False) -> list[Figure]:
    """Real frames where they are to be had, and drives of the simulator in the other data sets' layouts, which are
    smaller than the data sets' own frames."""
    return [
        Figure(f"{name}: frames a second a worker", 1e3 / _milliseconds(dataset, 3 if quick else 15), "Hz", note=note)
        for name, note, dataset in itertools.chain(_real(), _simulated())
    ]


def _milliseconds(dataset: Dataset, repetitions: int) -> float:
    """CPU time of a frame; another one each time, so that nothing is read twice in a row."""
    places = itertools.cycle(range(len(dataset)))
    read: Callable[[], object] = lambda: dataset[next(places)]  # noqa: E731
    return cpu_milliseconds(read, repetitions)


def _real() -> Iterator[tuple[str, str, Dataset]]:
    data = real_data()
    if data is None:
        return
    six, ten, town = (Taxonomy.load(name) for name in ("nuscenes6", "a2d2_semantickitti10", "town"))
    yield "nuScenes", "one 1600x900 JPEG, 35,000 points", NuScenes([data / "nuscenes_keyframe"], _FRONT, six)
    yield "nuScenes, six cameras", "six 1600x900 JPEG", NuScenes([data / "nuscenes_keyframe"], taxonomy=six)
    yield "SemanticKITTI", "one 1241x376 PNG, 124,000 points", SemanticKitti([data / "semantickitti"], taxonomy=ten)
    yield "KITTI raw", "one 1242x375 PNG, 113,000 points", KittiRaw([data / "kitti_raw"])
    if (bag := data / "pandaset_002").is_dir():
        topics = {
            "lidar.topic": "/pandar64/points",
            "lidar.deskew": False,  # its makers have undone the motion
            "cameras.front.image": "/camera/front/image_raw/compressed",
            "cameras.front.info": "/camera/front/camera_info",
            "ground_truth.mapping": "pandaset",
        }
        bags = Bags([bag], taxonomy=town, config=Config.from_flat(topics))
        yield "a bag", "one 1920x1080 JPEG, 106,000 points", bags


def _simulated() -> Iterator[tuple[str, str, Dataset]]:
    for name, classes in (("a2d2", "a2d2_semantickitti10"), ("virtual_kitti", "vkitti_semantickitti6")):
        dataset = open_dataset(name, [town_layout(name, 2)], _FRONT, Taxonomy.load(classes))
        view = dataset[0].views[0]
        size, points = f"{view.camera.width}x{view.camera.height}", len(dataset[0].points)
        yield name, f"one {size} PNG, {points:,} points, of the simulator", dataset
