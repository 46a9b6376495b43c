"""A2D2's classes and the colours of its label images, as in its ``class_list.json``."""

from __future__ import annotations

COLORS = {
    "Car 1": "#ff0000",
    "Car 2": "#c80000",
    "Car 3": "#960000",
    "Car 4": "#800000",
    "Bicycle 1": "#b65906",
    "Bicycle 2": "#963204",
    "Bicycle 3": "#5a1e01",
    "Bicycle 4": "#5a1e1e",
    "Pedestrian 1": "#cc99ff",
    "Pedestrian 2": "#bd499b",
    "Pedestrian 3": "#ef59bf",
    "Truck 1": "#ff8000",
    "Truck 2": "#c88000",
    "Truck 3": "#968000",
    "Small vehicles 1": "#00ff00",
    "Small vehicles 2": "#00c800",
    "Small vehicles 3": "#009600",
    "Traffic signal 1": "#0080ff",
    "Traffic signal 2": "#1e1c9e",
    "Traffic signal 3": "#3c1c64",
    "Traffic sign 1": "#00ffff",
    "Traffic sign 2": "#1edcdc",
    "Traffic sign 3": "#3c9dc7",
    "Utility vehicle 1": "#ffff00",
    "Utility vehicle 2": "#ffffc8",
    "Sidebars": "#e96400",
    "Speed bumper": "#6e6e00",
    "Curbstone": "#808000",
    "Solid line": "#ffc125",
    "Irrelevant signs": "#400040",
    "Road blocks": "#b97a57",
    "Tractor": "#000064",
    "Non-drivable street": "#8b636c",
    "Zebra crossing": "#d23273",
    "Obstacles / trash": "#ff0080",
    "Poles": "#fff68f",
    "RD restricted area": "#960096",
    "Animals": "#ccff99",
    "Grid structure": "#eea2ad",
    "Signal corpus": "#212cb1",
    "Drivable cobblestone": "#b432b4",
    "Electronic traffic": "#ff46b9",
    "Slow drive area": "#eee9bf",
    "Nature object": "#93fdc2",
    "Parking area": "#9696c8",
    "Sidewalk": "#b496c8",
    "Ego car": "#48d1cc",
    "Painted driv. instr.": "#c87dd2",
    "Traffic guide obj.": "#9f79ee",
    "Dashed line": "#8000ff",
    "RD normal street": "#ff00ff",
    "Sky": "#87ceff",
    "Buildings": "#f1e6ff",
    "Blurred area": "#60458f",
    "Rain dirt": "#352e52",
}
"""By name, in the list's order. A class's id, by which class sets' mappings ``a2d2`` name it, is its place."""
CLASSES = tuple(COLORS)


def rgb(color: str) -> tuple[int, int, int]:
    """Of ``#rrggbb``. Raises ValueError when it is none."""
    digits = color.removeprefix("#")
    if len(digits) != 6:
        raise ValueError(f"#rrggbb expected, got {color!r}")
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue
