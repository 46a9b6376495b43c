"""The simulated town's domains: the source domain ``day`` and the shifts, which can be combined with "+"."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from sam_adapt_ros.errors import ConfigError

DOMAINS = ("day", "night", "other_lidar", "new_city", "rain", "miscalibrated", "varied")

Range = tuple[float, float]
Palette = tuple[tuple[float, float, float], ...]

_PAINTS: Palette = (
    (0.75, 0.75, 0.74), (0.14, 0.14, 0.16), (0.42, 0.44, 0.47), (0.55, 0.12, 0.10), (0.12, 0.22, 0.45),
    (0.60, 0.55, 0.42), (0.20, 0.34, 0.22), (0.50, 0.30, 0.16), (0.86, 0.84, 0.78),
)  # fmt: skip


@dataclass(frozen=True)
class CameraRig:
    """A pinhole camera: position in base_link in metres, pitch (positive: down) and yaw in radians, focal in pixels.

    aspect: vertical over horizontal focal length; not 1 where an image of another shape is squeezed to this one.
    """

    width: int = 480
    height: int = 240
    focal: float = 240.0
    aspect: float = 1.0
    position: tuple[float, float, float] = (1.1, 0.25, 1.5)
    pitch: float = 0.0
    yaw: float = 0.0
    saturation: float = 1.0
    gamma: float = 1.0
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)  # gains of red, green and blue
    vignette: float = 0.15  # share of the light that is lost in the corners
    exposure_spread: float = 0.15  # standard deviation of the exposure's logarithm, from drive to drive
    delay: float = 0.022  # seconds from the LiDAR's stamp to the image's


@dataclass(frozen=True)
class LidarRig:
    """A spinning LiDAR: beams evenly spaced between two elevations in degrees.

    noise: standard deviation of the range, metres. dropout: share of lost returns.
    sensitivity: weakest return that is detected; a return's strength is albedo * cosine of the angle of incidence /
        square of the range in metres. Dry asphalt is lost at about 45 m with 4e-6.
    mixed: share of the returns at the edge of an object that lie between it and what is behind it.
    pitch, roll: of the mounting, degrees.
    """

    beams: int = 32
    lowest: float = -24.0
    highest: float = 8.0
    columns: int = 900
    position: tuple[float, float, float] = (0.0, 0.0, 1.9)
    noise: float = 0.015
    dropout: float = 0.01
    max_range: float = 75.0
    sensitivity: float = 3e-6
    mixed: float = 0.2
    pitch: float = 0.0
    roll: float = 0.0


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
    sidewalk_height: tuple[float, ...] = (0.0, 0.03, 0.08, 0.14)  # the sides of the blocks take one each
    terrain_height: tuple[float, ...] = (0.0, 0.03, 0.08, 0.18)
    grass: float = 0.03  # length of the blades
    hedges: float = 0.6  # share of the garden boundaries that are hedges; the others are walls
    boundary_height: Range = (0.8, 1.8)
    sheds: float = 0.3  # share of the places for a shed or a container in gardens and lots that have one
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
    trunk_radius: Range = (0.12, 0.28)
    slim_trunk_radius: Range = (0.08, 0.15)
    crown_base: Range = (1.6, 3.2)  # height where a tree's crown begins
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
    visibility: float = 260.0  # distance at which haze leaves 1/e of the contrast
    sky: tuple[float, float, float] = (0.34, 0.52, 0.80)


@dataclass(frozen=True)
class Miscalibration:
    """What the vehicle believes of its camera, and is wrong.

    rotation: degrees about a random axis. shift: metres in a random direction. late: seconds that an image is older
    than the world that it shows, so that the pose at its stamp is not the camera's.
    """

    rotation: float = 0.0
    shift: float = 0.0
    late: float = 0.0


@dataclass(frozen=True)
class Domain:
    """Everything that a domain shift can change.

    sun_elevation: radians. sun_strength: relative to a clear sky; the sky's light makes up for a part of it.
    glare: strength of the stray light when the sun is in front of the lens.
    """

    name: str = "day"
    looks: Looks = Looks()
    camera: CameraRig = CameraRig()
    lidar: LidarRig = LidarRig()
    night: bool = False
    rain: bool = False
    sun_elevation: Range = (0.55, 1.0)
    sun_strength: Range = (0.55, 1.0)
    glare: float = 0.5
    miscalibration: Miscalibration = Miscalibration()

    @classmethod
    def parse(cls, name: str, seed: int = 0) -> Domain:
        """The domain of ``day``, a shift, or several shifts joined by "+". Raises ConfigError for unknown names.

        seed: of the drive; ``varied`` has another rig, town and weather for each.
        """
        domain = cls(name)
        for part in name.split("+"):
            if part not in DOMAINS:
                raise ConfigError(
                    f"simulated town: unknown domain {part!r} in {name!r}; use {', '.join(DOMAINS)}, "
                    'or several joined by "+"'
                )
            domain = varied(domain, seed) if part == "varied" else _SHIFTS[part](domain)
        return domain


def _night(domain: Domain) -> Domain:
    return replace(domain, night=True)


def _rain(domain: Domain) -> Domain:
    """Wet, dark ground that mirrors the sky, drops on the lens, a grey sky; echoes of drops, weak returns."""
    lidar = replace(domain.lidar, sensitivity=max(domain.lidar.sensitivity, 6e-6))
    return replace(domain, rain=True, sun_strength=(0.05, 0.15), lidar=lidar)


def _miscalibrated(domain: Domain) -> Domain:
    """Extrinsics off by half a degree and 3 cm, images 20 ms late: masks fall beside their objects."""
    return replace(domain, miscalibration=Miscalibration(0.5, 0.03, 0.02))


def varied(domain: Domain, seed: int) -> Domain:
    """Another vehicle in another town on another day for every seed, for training: LiDARs of 16 to 128 beams, lenses of
    50 to 120 degrees, colours, buildings, plants, traffic, light, and things that a LiDAR can hardly tell apart: kerbs
    that are flush, hedges like walls, sheds like vans, trunks like poles. What the shifts are about is left out: night,
    rain, and the shapes and the left-hand traffic of ``new_city``."""
    rng = np.random.default_rng([seed, 3])

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def around(palette: Palette, count: int = 6) -> Palette:
        """Colours of other hues: half are of the palette, turned; half of any colour, the paler the more likely."""
        base = np.array(palette)[rng.integers(len(palette), size=count)]
        grey = rng.uniform(0.1, 0.85, (count, 1))
        free = grey + rng.normal(0, 1, (count, 3)) * rng.uniform(0.02, 0.18, (count, 1))
        turned = np.clip(base * rng.uniform(0.6, 1.5, (count, 1)) + rng.normal(0, 0.05, (count, 3)), 0.03, 0.95)
        mixed = np.where(rng.random((count, 1)) < 0.5, turned, np.clip(free, 0.03, 0.95))
        return tuple((float(r), float(g), float(b)) for r, g, b in mixed)

    def span(low: float, high: float, share: float = 0.3) -> Range:
        start = between(low, high)
        return start, start + share * (high - low)

    def shuffled(weights: dict[str, float]) -> dict[str, float]:
        return {name: weight * between(0.2, 3.0) for name, weight in weights.items()}

    looks = domain.looks
    green = tuple((float(r), float(g), float(b)) for r, g, b in np.clip(
        np.array(looks.leaves)[rng.integers(len(looks.leaves), size=5)] * rng.uniform(0.6, 1.6, (5, 1))
        + rng.normal(0, 0.04, (5, 3)), 0.03, 0.9))  # fmt: skip
    ground = tuple((g, g * between(0.95, 1.02), g * between(0.9, 1.05)) for g in rng.uniform(0.16, 0.5, 3).tolist())
    looks = replace(
        looks,
        road_half_width=span(4.6, 7.5),
        sidewalk_width=span(1.4, 4.5),
        block_length=span(40.0, 90.0),
        blocks=shuffled({"houses": 3, "downtown": 2, "park": 2, "lot": 1, "woods": 1}),
        road=ground,
        sidewalk=tuple(
            (g * between(0.95, 1.15), g, g * between(0.85, 1.05)) for g in rng.uniform(0.22, 0.6, 3).tolist()
        ),
        terrain=tuple((c[0] * between(0.7, 1.6), c[1] * between(0.7, 1.5), c[2]) for c in looks.terrain),
        tile=between(0.3, 1.2),
        walls=around(looks.walls, 8),
        brick=between(0, 1),
        gable=between(0, 1),
        storey=span(2.7, 4.0),
        storeys_downtown=(int(rng.integers(1, 4)), int(rng.integers(4, 9))),
        window_spacing=span(1.6, 4.5),
        window_share=span(0.2, 0.65),
        paints=around(looks.paints, 8),
        vehicles=shuffled({"car": 6, "estate": 3, "van": 1.5, "truck": 0.8, "pickup": 1}),
        trees=shuffled({"broadleaf": 4, "slim": 2, "bush": 2, "conifer": 1}),
        leaves=green,
        clothes=around(looks.clothes, 8),
        poles=around(looks.poles, 4),
        pole_radius=span(0.05, 0.16),
        wooden_poles=between(0, 0.5),
        sidewalk_height=(0.0, 0.03, 0.07, 0.11, 0.15),
        terrain_height=(0.0, 0.03, 0.07, 0.12, 0.2),
        grass=between(0.0, 0.12),
        hedges=between(0.2, 0.8),
        boundary_height=(0.7, 2.2),
        sheds=between(0.1, 0.7),
        trunk_radius=(0.10, 0.28),
        slim_trunk_radius=(0.06, 0.14),
        crown_base=(1.0, 4.0),
        haze=tuple(np.clip(np.array(looks.haze) + rng.normal(0, 0.08, 3), 0, 1).tolist()),
        sky=tuple(np.clip(np.array(looks.sky) + rng.normal(0, 0.12, 3), 0, 1).tolist()),
    )
    lowest = between(-28.0, -14.0)
    highest = (
        between(0.0, 4.0) if rng.random() < 0.5 else between(4.0, 15.0)
    )  # the low ones see neither crowns nor roofs
    beams = int(rng.choice((16, 24, 32, 40, 64, 64, 128)))
    lidar = LidarRig(
        beams,
        lowest,
        highest,
        int(min(between(700, 1900), 110_000 / beams)),
        (between(-0.5, 0.5), between(-0.2, 0.2), between(1.5, 2.4)),
        noise=between(0.008, 0.04),
        dropout=between(0.0, 0.15),
        sensitivity=float(np.exp(between(np.log(1.5e-6), np.log(8e-6)))),
        mixed=between(0.0, 0.5),
        pitch=between(-2.5, 2.5),
        roll=between(-2.5, 2.5),
    )
    camera = replace(
        domain.camera,
        focal=240.0 / float(np.tan(np.deg2rad(between(50.0, 120.0)) / 2)),
        aspect=between(0.75, 1.9),
        position=(between(0.3, 1.8), between(-0.5, 0.5), between(1.1, 2.2)),
        pitch=float(np.deg2rad(between(-3.0, 6.0))),
        saturation=between(0.5, 1.3),
        gamma=between(0.7, 1.9),
        balance=(between(0.88, 1.12), between(0.94, 1.06), between(0.85, 1.15)),
        vignette=between(0.0, 0.4),
        exposure_spread=0.35,
        delay=between(-0.03, 0.03),
    )
    return replace(
        domain, looks=looks, lidar=lidar, camera=camera, sun_elevation=(0.12, 1.3), sun_strength=(0.05, 1.1), glare=1.0
    )


def _other_lidar(domain: Domain) -> Domain:
    """A 16-beam LiDAR, mounted higher and noisier; a monochrome camera with a longer focal length, tilted down."""
    lidar = LidarRig(16, -17.0, 11.0, 900, (-0.3, 0.0, 2.35), noise=0.05, dropout=0.15, max_range=60.0)
    camera = replace(
        domain.camera, focal=330.0, position=(0.4, -0.3, 2.05), pitch=np.deg2rad(5.0), saturation=0.0, gamma=1.8
    )
    return replace(domain, lidar=lidar, camera=camera)


def _new_city(domain: Domain) -> Domain:
    """Plastered flat-roofed houses, palms and conifers, small vehicles, narrower roads of pale concrete, dark
    sidewalks, often flush with them, dry ground, dust in the air, left-hand traffic."""
    looks = replace(
        domain.looks,
        road_half_width=(4.2, 5.2),
        sidewalk_width=(1.6, 2.6),
        block_length=(40.0, 70.0),
        blocks={"houses": 2.5, "downtown": 3, "park": 1.5, "lot": 0.5},
        drives_on_left=True,
        road=((0.52, 0.49, 0.44), (0.46, 0.44, 0.41), (0.50, 0.45, 0.38)),
        sidewalk=((0.30, 0.22, 0.19), (0.27, 0.26, 0.26), (0.34, 0.27, 0.22)),
        terrain=((0.46, 0.40, 0.26), (0.40, 0.34, 0.23), (0.34, 0.33, 0.18)),
        sidewalk_height=(0.0, 0.0, 0.03, 0.2),
        terrain_height=(0.0, 0.0, 0.03, 0.2),
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
        haze=(0.80, 0.72, 0.58),
        visibility=60.0,
        sky=(0.62, 0.62, 0.60),
    )  # fmt: skip
    camera = replace(domain.camera, balance=(1.1, 1.0, 0.82))
    return replace(domain, looks=looks, camera=camera)


_SHIFTS = {
    "day": lambda domain: domain,
    "night": _night,
    "other_lidar": _other_lidar,
    "new_city": _new_city,
    "rain": _rain,
    "miscalibrated": _miscalibrated,
}
