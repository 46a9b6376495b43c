"""One HTML file that shows a run: facts, tables and pictures, with the pictures inside so that it can be passed on."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from sam_adapt_ros.frame import Frame
from sam_adapt_ros.io.outputs import write_text


@dataclass
class Table:
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""


@dataclass
class Picture:
    path: Path
    caption: str = ""

    @property
    def data_uri(self) -> str:
        kind = mimetypes.guess_type(self.path.name)[0] or "image/png"
        return f"data:{kind};base64,{base64.b64encode(self.path.read_bytes()).decode()}"


@dataclass
class Section:
    title: str
    text: str = ""
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


@dataclass
class Report:
    title: str
    subtitle: str = ""
    sections: list[Section] = field(default_factory=list)

    def write(self, path: Path) -> None:
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("sam_adapt_ros.visualization", "."), autoescape=True, trim_blocks=True
        )
        environment.filters["cell"] = _cell
        write_text(path, environment.get_template("report.html.j2").render(report=self))


def sweep_caption(frame: Frame) -> str:
    return f"Sweep at {frame.stamp_ns / 1e9:.3f} s"


def _cell(value: object) -> str:
    if value is None or value != value:  # not a number
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
