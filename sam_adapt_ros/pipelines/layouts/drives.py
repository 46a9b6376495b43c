"""What the drives of all layouts have in common: small sensors, what things are, and the exact truth of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sam_adapt_ros.simulation.domains import Domain
from sam_adapt_ros.simulation.drive import Drive, Recording
from sam_adapt_ros.simulation.models import VEHICLE
from sam_adapt_ros.simulation.primitives import FloatArray
from sam_adapt_ros.simulation.trace import NONE, trace
from sam_adapt_ros.taxonomy import Taxonomy

TRUCK = "truck"
_TRUCK_HEIGHT = 2.5  # metres; the town's vans are lower, its minibuses and trucks are not
_NOTHING = 1 << 8  # kinds have fewer ids


@dataclass(frozen=True)
class Truth:
    """What a camera's pixels show. depth: (H, W) float32 metres along the optical axis, inf for the sky. kind: (H, W)
    uint8. instance: (H, W) uint16, 0 = none."""

    depth: FloatArray
    kind: NDArray[np.uint8]
    instance: NDArray[np.uint16]


class LayoutDrive(Drive):
    """A drive with the sensors of a data set.

    What things are (``kinds``) is the town's class, trucks apart from other vehicles: data sets tell them apart.
    """

    kinds = (*Taxonomy.load("town").classes, TRUCK)

    def __init__(
        self,
        domain: str | Domain,
        seed: int,
        frames: int,
        period: float,
        camera: Mapping[str, Any],
        lidar: Mapping[str, Any],
        synchronous: bool = True,
    ) -> None:
        """camera, lidar: fields of the rigs that the data set's vehicle has otherwise. synchronous: images show the
        world at the sweep's stamp, as in data sets whose sweeps are motion compensated to the images."""
        base = domain if isinstance(domain, Domain) else Domain.parse(domain, seed)
        rigged = replace(base, camera=replace(base.camera, **camera), lidar=replace(base.lidar, **lidar))
        self._synchronous = synchronous
        super().__init__(rigged, seed, frames, period)

    def stamps(self, index: int) -> tuple[int, int]:
        sweep, image = super().stamps(index)
        return sweep, sweep if self._synchronous else image

    def kind(self, class_id: NDArray[np.uint8], instance: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Places in ``kinds``, 255 for nothing, of the town's classes and instances, in any shape."""
        return np.where(self._is_truck[instance], np.uint8(self.kinds.index(TRUCK)), class_id)

    def truth(self, r: Recording) -> Truth:
        """Of the frame's image, without the camera's blur and noise."""
        seconds = (r.image_stamp_ns - super().stamps(0)[0]) / 1e9
        seen = trace(self.scene, seconds, self.camera.grid, r.T_odom_base_image @ self.camera.T_base_camera)
        along_axis = self.camera.grid.directions[2].reshape(seen.shape)
        depth = seen.distance.reshape(seen.shape) * along_axis
        kind = self.kind(seen.class_id, seen.instance).reshape(seen.shape)
        return Truth(depth, kind, seen.instance.reshape(seen.shape))

    @cached_property
    def _is_truck(self) -> NDArray[np.bool_]:
        """(65536,) bool by instance."""
        height = np.zeros(1 << 16, np.float32)
        for solids in (self.scene.static_solids(), self.scene.traffic.all_solids()):
            vehicle = solids.select(solids.class_id == VEHICLE)
            np.maximum.at(height, vehicle.instance, vehicle.center[:, 2] + vehicle.half[:, 2])
        return height > _TRUCK_HEIGHT


def pixels(r: Recording) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB: the frame's image, with its JPEG's losses."""
    return np.asarray(cv2.imdecode(r.jpeg, cv2.IMREAD_COLOR_RGB), np.uint8)


def png(image: NDArray) -> bytes:
    """RGB, grey or 16 bit -> the bytes of a file, compressed little, since they are written often and read once."""
    ordered = image[..., ::-1] if image.ndim == 3 else image
    return bytes(cv2.imencode(".png", ordered, (cv2.IMWRITE_PNG_COMPRESSION, 1))[1])


def id_table(ids: Mapping[str, int], nothing: int) -> NDArray[np.uint32]:
    """(256,) uint32: a data set's id by kind. nothing: its id for what is nothing, such as a drop of rain."""
    table = np.full(_NOTHING, nothing, np.uint32)
    for place, kind in enumerate(LayoutDrive.kinds):
        table[place] = ids[kind]
    assert table[NONE] == nothing
    return table
