"""Drives in the layout of Virtual KITTI 1.3.1 with the point files of vkitti3D: five scenes in six weathers.

There is no LiDAR: points are those of the camera's depth. A scene has the same world in all weathers.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.datasets.virtual_kitti import CATEGORIES, MAX_RANGE, SCENES
from sam_adapt_ros.geometry.transforms import T_BODY_OPTICAL, invert
from sam_adapt_ros.pipelines.layouts.drives import LayoutDrive, Truth, id_table, pixels, png
from sam_adapt_ros.progress import Progress, no_progress
from sam_adapt_ros.simulation.domains import Domain

PERIOD = 0.5
CAMERA_RIG = {"width": 414, "height": 125, "focal": 725 / 3, "position": (1.1, 0.0, 1.65)}  # a third of 1242 x 375
DOMAIN = Domain.parse("day")
WEATHERS = {
    "clone": DOMAIN,
    "fog": replace(DOMAIN, sun_strength=(0.05, 0.15)),
    "morning": replace(DOMAIN, sun_elevation=(0.15, 0.25)),
    "overcast": replace(DOMAIN, sun_strength=(0.05, 0.15)),
    "rain": Domain.parse("rain"),
    "sunset": replace(DOMAIN, sun_elevation=(0.10, 0.16), sun_strength=(0.4, 0.6), glare=1.0),
}
CATEGORY_OF = {
    "road": "Road",
    "sidewalk": "Terrain",  # neither it nor pedestrians are in Virtual KITTI
    "terrain": "Terrain",
    "building": "Building",
    "vegetation": "Tree",
    "vehicle": "Car",
    "pedestrian": "GuardRail",
    "pole": "Pole",
    "truck": "Truck",
}
_COLORS = {
    "Terrain": (210, 0, 200),
    "Sky": (90, 200, 255),
    "Tree": (0, 199, 0),
    "Building": (140, 140, 140),
    "Road": (100, 60, 100),
    "GuardRail": (255, 100, 255),
    "Pole": (255, 130, 0),
}
_INSTANCES = ("Car", "Truck")  # their colours tell instances apart, and differ from scene to scene
_FOG, _VISIBILITY = np.array((200, 205, 210), np.float32), 35.0  # metres
_PREFIX = "vkitti_1.3.1"


def drive(scene: str, weather: str, seed: int, frames: int) -> LayoutDrive:
    """What ``write`` writes as a scene in a weather."""
    number = 100 * seed + 70 + SCENES.index(scene)
    return LayoutDrive(WEATHERS[weather], number, frames, PERIOD, CAMERA_RIG, {})


def write(
    root: Path,
    frames: int,
    seed: int,
    scenes: Sequence[str] = SCENES,
    weathers: Sequence[str] = tuple(WEATHERS),
    progress: Progress = no_progress,
) -> None:
    """Writes each scene with ``frames`` frames in each weather."""
    drives = list(product(scenes, weathers))
    for place, (scene, weather) in enumerate(drives):
        _write_drive(root, scene, weather, drive(scene, weather, seed, frames))
        progress(place + 1, len(drives))


def points(truth: Truth, model_K: NDArray[np.float64], image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 7) x y z r g b label, as vkitti3D's tool makes them of depth, image and classes, in the order of the pixels.

    x is forward, y left, z up, metres, from the camera; depth is rounded to centimetres.
    """
    depth = _centimetres(truth) / 100.0
    v, u = np.indices(depth.shape)
    x = (u - model_K[0, 2]) / model_K[0, 0] * depth
    y = (v - model_K[1, 2]) / model_K[1, 1] * depth
    table = id_table({kind: CATEGORIES.index(name) for kind, name in CATEGORY_OF.items()}, nothing=99)
    rows = np.dstack([depth, -x, -y, image.astype(np.float64), table[truth.kind]]).reshape(-1, 7)
    return rows[np.linalg.norm(rows[:, :3], axis=1) < MAX_RANGE].astype(np.float32)


def _write_drive(root: Path, scene: str, weather: str, rendered: LayoutDrive) -> None:
    folders = {kind: root / f"{_PREFIX}_{kind}" / scene / weather for kind in ("rgb", "scenegt", "depthgt")}
    folders |= {"extrinsicsgt": root / f"{_PREFIX}_extrinsicsgt", "npy": root / "vkitti3d_npy" / scene}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    colors: dict[str, tuple[int, int, int]] = dict(_COLORS)
    lines = ["frame r1,1 r1,2 r1,3 t1 r2,1 r2,2 r2,3 t2 r3,1 r3,2 r3,3 t3 0 0.1 0.2 1"]
    for index in range(len(rendered)):
        r, name = rendered.record(index), f"{index:05d}"
        truth, image = rendered.truth(r), pixels(r)
        if weather == "fog":
            clear = np.exp(-truth.depth / _VISIBILITY)[..., None]
            image = np.rint(image * clear + _FOG * (1 - clear)).astype(np.uint8)
        (folders["rgb"] / f"{name}.png").write_bytes(png(image))
        (folders["scenegt"] / f"{name}.png").write_bytes(png(_colored(truth, colors, f"{scene}{weather}")))
        (folders["depthgt"] / f"{name}.png").write_bytes(png(_centimetres(truth)))
        if weather == "clone":
            np.save(folders["npy"] / f"{name}.npy", points(truth, rendered.camera.model.K, image))
        T_camera_world = invert(r.T_odom_base_image @ rendered.T_base_camera) @ T_BODY_OPTICAL  # the world's y is down
        lines.append(f"{index} " + " ".join(f"{value:.7g}" for value in T_camera_world.ravel()))
    (folders["extrinsicsgt"] / f"{scene}_{weather}.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
    encoding = ["Category(:id) r g b", *(f"{name} {r} {g} {b}" for name, (r, g, b) in colors.items())]
    file = root / f"{_PREFIX}_scenegt" / f"{scene}_{weather}_scenegt_rgb_encoding.txt"
    file.write_text("\n".join(encoding) + "\n", encoding="ascii")


def _centimetres(truth: Truth) -> NDArray[np.uint16]:
    """(H, W) depth; what is too far is at the largest number, the sky too."""
    return np.minimum(np.rint(truth.depth * 100), 65535).astype(np.uint16)


def _colored(truth: Truth, colors: dict[str, tuple[int, int, int]], drive_name: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB. Colours of instances that are new are added to ``colors``."""
    image = np.full((*truth.kind.shape, 3), _COLORS["Sky"], np.uint8)
    for place, kind in enumerate(LayoutDrive.kinds):
        name, shown = CATEGORY_OF[kind], truth.kind == place
        if name not in _INSTANCES:
            image[shown] = _COLORS[name]
            continue
        for instance in np.unique(truth.instance[shown]).tolist():
            named = f"{name}:{instance}"
            if named not in colors:
                colors[named] = _some_color(len(colors), drive_name)
            image[shown & (truth.instance == instance)] = colors[named]
    return image


def _some_color(number: int, drive_name: str) -> tuple[int, int, int]:
    """A colour of a drive that no other number and none of the categories has."""
    hue = (0.618034 * number + 0.1 * (sum(map(ord, drive_name)) % 10)) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.35, 0.55 + 0.4 * (number % 8) / 8)
    return round(red * 255), round(green * 255), round(blue * 255)
