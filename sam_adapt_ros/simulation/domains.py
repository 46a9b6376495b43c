"""The simulated town's domains: the source domain ``day`` and the shifts, which can be combined with "+"."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from sam_adapt_ros.errors import ConfigError

DOMAINS = ("day", "night", "other_lidar", "new_city")

Range = tuple[float, float]
Palette = tuple[tuple[float, float, float], ...]

_PAINTS: Palette = (
    (0.75, 0.75, 0.74), (0.14, 0.14, 0.16), (0.42, 0.44, 0.47), (0.55, 0.12, 0.10), (0.12, 0.22, 0.45),
    (0.60, 0.55, 0.42), (0.20, 0.34, 0.22), (0.50, 0.30, 0.16), (0.86, 0.84, 0.78),
)  # fmt: skip


@dataclass(frozen=True)
class CameraRig:
    """A pinhole camera: position in base_link in metres, pitch (positive: down) and yaw in radians, focal in pixels."""

    width: int = 480
    height: int = 240
    focal: float = 240.0
    position: tuple[float, float, float] = (1.1, 0.25, 1.5)
    pitch: float = 0.0
    yaw: float = 0.0
    saturation: float = 1.0
    gamma: float = 1.0
    delay: float = 0.022  # seconds from the LiDAR's stamp to the image's


@dataclass(frozen=True)
class LidarRig:
    """A spinning LiDAR: beams evenly spaced between two elevations in degrees.

    noise: standard deviation of the range, metres. dropout: share of lost returns.
    """

    beams: int = 32
    lowest: float = -24.0
    highest: float = 8.0
    columns: int = 900
    position: tuple[float, float, float] = (0.0, 0.0, 1.9)
    noise: float = 0.015
    dropout: float = 0.01
    max_range: float = 75.0


@dataclass(frozen=True)
class Looks:
    """Appearance and layout of a town. Weights need not sum to one; ranges are uniform; lengths are in metres."""

    road_half_width: Range = (5.6, 6.6)
    sidewalk_width: Range = (2.4, 3.8)
    block_length: Range = (55.0, 85.0)
    blocks: dict[str, float] = field(default_factory=lambda: {"houses": 3.5, "downtown": 2, "park": 2, "lot": 0.5})
    drives_on_left: bool = False
    road: Palette = ((0.27, 0.27, 0.28), (0.33, 0.32, 0.31), (0.23, 0.23, 0.25), (0.39, 0.38, 0.37))
    sidewalk: Palette = ((0.46, 0.45, 0.43), (0.40, 0.38, 0.37), (0.42, 0.34, 0.30), (0.31, 0.31, 0.32))
    terrain: Palette = ((0.22, 0.31, 0.12), (0.28, 0.32, 0.15), (0.33, 0.29, 0.17))
    tile: float = 0.6  # edge length of the sidewalk's tiles
    walls: Palette = (
        (0.52, 0.30, 0.23), (0.66, 0.61, 0.52), (0.45, 0.45, 0.46), (0.70, 0.66, 0.60), (0.38, 0.28, 0.24),
        (0.40, 0.46, 0.40), (0.34, 0.38, 0.46),
    )  # fmt: skip
    brick: float = 0.5  # share of buildings with brick walls
    gable: float = 0.75  # share of houses with a gable roof
    storey: Range = (2.9, 3.4)
    storeys_downtown: tuple[int, int] = (3, 7)
    window_spacing: Range = (2.0, 3.2)
    window_share: Range = (0.4, 0.6)
    paints: Palette = _PAINTS
    vehicles: dict[str, float] = field(default_factory=lambda: {"car": 6, "estate": 2, "van": 1.5, "truck": 0.6})
    trees: dict[str, float] = field(default_factory=lambda: {"broadleaf": 5, "slim": 1.5, "bush": 2})
    leaves: Palette = (
        (0.16, 0.27, 0.09),
        (0.22, 0.30, 0.12),
        (0.28, 0.31, 0.13),
        (0.32, 0.22, 0.12),
        (0.13, 0.22, 0.12),
    )
    clothes: Palette = (
        (0.12, 0.13, 0.18), (0.45, 0.12, 0.12), (0.16, 0.24, 0.42), (0.62, 0.60, 0.56), (0.35, 0.32, 0.28),
        (0.22, 0.32, 0.22), (0.60, 0.50, 0.30),
    )  # fmt: skip
    robes: float = 0.0  # share of pedestrians in a robe
    poles: Palette = ((0.42, 0.43, 0.44), (0.20, 0.23, 0.22), (0.55, 0.55, 0.53), (0.30, 0.27, 0.24))
    pole_radius: Range = (0.09, 0.13)
    wooden_poles: float = 0.1
    haze: tuple[float, float, float] = (0.70, 0.76, 0.83)
    sky: tuple[float, float, float] = (0.34, 0.52, 0.80)


@dataclass(frozen=True)
class Domain:
    """Everything that a domain shift can change."""

    name: str = "day"
    looks: Looks = Looks()
    camera: CameraRig = CameraRig()
    lidar: LidarRig = LidarRig()
    night: bool = False

    @classmethod
    def parse(cls, name: str) -> Domain:
        """The domain of ``day``, a shift, or several shifts joined by "+". Raises ConfigError for unknown names."""
        domain = cls(name)
        for part in name.split("+"):
            if part not in DOMAINS:
                raise ConfigError(
                    f"simulated town: unknown domain {part!r} in {name!r}; use {', '.join(DOMAINS)}, "
                    'or several joined by "+"'
                )
            domain = _SHIFTS[part](domain)
        return domain


def _night(domain: Domain) -> Domain:
    return replace(domain, night=True)


def _other_lidar(domain: Domain) -> Domain:
    """A 16-beam LiDAR, mounted higher and noisier; a camera with a longer focal length, tilted down, less saturated."""
    lidar = LidarRig(16, -17.0, 11.0, 900, (-0.3, 0.0, 2.35), noise=0.05, dropout=0.15, max_range=60.0)
    camera = replace(
        domain.camera, focal=290.0, position=(0.4, -0.3, 2.05), pitch=np.deg2rad(5.0), saturation=0.55, gamma=1.25
    )
    return replace(domain, lidar=lidar, camera=camera)


def _new_city(domain: Domain) -> Domain:
    """Plastered flat-roofed houses, palms and conifers, small vehicles, narrower roads, left-hand traffic."""
    looks = replace(
        domain.looks,
        road_half_width=(4.2, 5.2),
        sidewalk_width=(1.6, 2.6),
        block_length=(40.0, 70.0),
        blocks={"houses": 2.5, "downtown": 3, "park": 1.5, "lot": 0.5},
        drives_on_left=True,
        road=((0.36, 0.34, 0.31), (0.30, 0.29, 0.28), (0.38, 0.35, 0.31)),
        sidewalk=((0.52, 0.45, 0.38), (0.47, 0.42, 0.38), (0.50, 0.38, 0.32)),
        terrain=((0.42, 0.37, 0.22), (0.36, 0.35, 0.18), (0.30, 0.33, 0.14)),
        tile=0.3,
        walls=(
            (0.85, 0.80, 0.68), (0.82, 0.62, 0.42), (0.45, 0.62, 0.66), (0.80, 0.52, 0.46), (0.88, 0.86, 0.82),
            (0.62, 0.66, 0.46), (0.72, 0.60, 0.62),
        ),
        brick=0.0,
        gable=0.1,
        storey=(3.3, 4.0),
        storeys_downtown=(1, 4),
        window_spacing=(3.0, 5.0),
        window_share=(0.2, 0.35),
        paints=(
            (0.85, 0.72, 0.15), (0.15, 0.50, 0.32), (0.80, 0.80, 0.78), (0.20, 0.45, 0.70), (0.75, 0.30, 0.12),
            (0.62, 0.58, 0.50),
        ),
        vehicles={"rickshaw": 3, "minibus": 2.5, "pickup": 2.5, "car": 1.5},
        trees={"palm": 3, "conifer": 3, "bush": 2, "broadleaf": 0.7},
        leaves=((0.30, 0.34, 0.14), (0.38, 0.37, 0.18), (0.16, 0.28, 0.20), (0.24, 0.33, 0.26)),
        clothes=(
            (0.80, 0.42, 0.12), (0.75, 0.20, 0.40), (0.82, 0.80, 0.74), (0.16, 0.46, 0.46), (0.45, 0.20, 0.45),
            (0.70, 0.62, 0.25),
        ),
        robes=0.6,
        poles=((0.60, 0.57, 0.52), (0.38, 0.29, 0.21), (0.52, 0.50, 0.44)),
        pole_radius=(0.12, 0.17),
        wooden_poles=0.6,
        haze=(0.82, 0.78, 0.70),
        sky=(0.48, 0.60, 0.74),
    )  # fmt: skip
    return replace(domain, looks=looks)


_SHIFTS = {"day": lambda domain: domain, "night": _night, "other_lidar": _other_lidar, "new_city": _new_city}
