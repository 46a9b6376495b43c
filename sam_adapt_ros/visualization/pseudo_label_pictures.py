"""Pictures of pseudo-labels: the masks over the image, the points after each stage, what GAPP kept out."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.frame import IGNORE, Frame
from sam_adapt_ros.pseudo_labels import CameraMasks, PseudoLabels
from sam_adapt_ros.taxonomy import Taxonomy
from sam_adapt_ros.visualization.overlay import draw_overlay
from sam_adapt_ros.visualization.pictures import BAND, label_view, legend, mosaic, titled

Image = NDArray[np.uint8]

PANEL = 640  # pixels wide
WIDTH = 2 * PANEL
RIGHT, WRONG, UNKNOWN = np.array([[90, 220, 90], [240, 70, 70], [200, 200, 200]], np.uint8)
UNLABELLED_MASK = (150, 150, 150)


@dataclass(frozen=True, eq=False)
class PseudoLabelFrame:
    """A frame to be shown. pseudo: with ``direct``."""

    frame: Frame
    pseudo: PseudoLabels


def pseudo_label_picture(shown: PseudoLabelFrame, taxonomy: Taxonomy) -> Image:
    """All stages of one frame, 1280 wide, of the camera in which masks labelled most points."""
    frame, pseudo = shown.frame, shown.pseudo
    if not pseudo.cameras:
        return np.vstack([mosaic([label_view(frame, pseudo.labels, taxonomy)], 1, WIDTH), legend(taxonomy, WIDTH)])
    gained = (pseudo.labels != IGNORE) & (pseudo.selected == IGNORE)
    number = int(np.argmax([np.count_nonzero(gained[camera.seen.index]) for camera in pseudo.cameras]))
    view = _View(frame, number, pseudo.cameras[number], taxonomy)
    direct = pseudo.labels if pseudo.direct is None else pseudo.direct
    panels = [
        titled(view.masks(), f"{len(view.camera.masks)} masks, outlined in the class they were given"),
        titled(view.points(pseudo.selected), "selection"),
        titled(view.points(direct), "+ MLA, direct propagation"),
        titled(view.points(pseudo.labels), "+ MLA + propagation as configured"),
        titled(*view.kept_out(direct, pseudo.labels)),
    ]
    if frame.ground_truth is not None:
        panels.append(titled(view.points(frame.ground_truth), "ground truth"))
    size = (panels[0].shape[1], panels[0].shape[0] - BAND)
    for labels, title in ((direct, "point cloud: direct propagation"), (pseudo.labels, "point cloud: as configured")):
        panels.append(titled(label_view(frame, labels, taxonomy, size), title))
    return np.vstack([mosaic(panels, 2, WIDTH), legend(taxonomy, WIDTH)])


class _View:
    """One camera's panels, drawn at ``PANEL`` pixels width."""

    def __init__(self, frame: Frame, number: int, camera: CameraMasks, taxonomy: Taxonomy) -> None:
        image = frame.views[number].image
        scale = PANEL / image.shape[1]
        self._image = np.asarray(cv2.resize(image, (PANEL, round(image.shape[0] * scale))), np.uint8)
        self._dark = (self._image * 0.55).astype(np.uint8)
        self._uv = (camera.seen.uv + 0.5) * np.float32(scale) - np.float32(0.5)
        truth, index = frame.ground_truth, camera.seen.index
        self._truth = np.full(len(index), IGNORE, np.uint8) if truth is None else truth[index]
        self._colors = taxonomy.colors
        self.camera = camera

    def points(self, labels: NDArray[np.uint8]) -> Image:
        """labels: (N,) of the frame; points without one are left out."""
        own = labels[self.camera.seen.index]
        return self._draw(self._image, own != IGNORE, self._colors[own])

    def masks(self) -> Image:
        """Every point in a colour of the smallest mask that it is on; every mask's hull in its class's colour."""
        masks = self.camera.masks
        order = np.argsort(-masks.areas, kind="stable")
        smallest = np.full(len(self.camera.seen), -1)
        for place, mask in enumerate(order):
            smallest[masks.membership[mask]] = place
        canvas = self._draw(self._dark, smallest >= 0, _hues(len(order) + 1)[smallest])
        for mask in order:
            label = self.camera.records[mask].label
            color = UNLABELLED_MASK if label is None else tuple(int(c) for c in self._colors[label])
            hull = cv2.convexHull(np.rint(self._uv[masks.membership[mask]]).astype(np.int32))
            cv2.polylines(canvas, [hull], True, color, 1, cv2.LINE_AA)
        return canvas

    def kept_out(self, direct: NDArray[np.uint8], labels: NDArray[np.uint8]) -> tuple[Image, str]:
        """The points that direct propagation labels and the configured one does not; a panel and its title.

        Green: direct propagation is wrong, so that they are rightly kept out. Red: it is right. Grey: there is no
        ground truth.
        """
        index = self.camera.seen.index
        out = (direct[index] != IGNORE) & (labels[index] == IGNORE)
        known, wrong = out & (self._truth != IGNORE), direct[index] != self._truth
        colors = np.where(known[:, None], np.where(wrong[:, None], RIGHT, WRONG), UNKNOWN)
        title = f"kept out: {np.count_nonzero(out)} points"
        if known.any():
            title += (
                f", {np.count_nonzero(known & wrong)} rightly (green), {np.count_nonzero(known & ~wrong)} not (red)"
            )
        return self._draw(self._dark, out, colors), title

    def _draw(self, image: Image, shown: NDArray[np.bool_], colors: NDArray[np.uint8]) -> Image:
        return draw_overlay(image, self._uv[shown], self.camera.seen.depth[shown], colors[shown])


def _hues(count: int) -> NDArray[np.uint8]:
    """(count, 3) RGB; neighbours in number are far apart in hue."""
    hue = (np.arange(count) * 0.618034 % 1 * 180).astype(np.uint8)
    saturated = np.stack([hue, np.full(count, 190, np.uint8), np.full(count, 245, np.uint8)], 1)
    return np.asarray(cv2.cvtColor(saturated[None], cv2.COLOR_HSV2RGB)[0], np.uint8)
