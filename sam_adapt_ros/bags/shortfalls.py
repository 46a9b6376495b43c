"""What the frames of a bag went without, in words: sweeps that were dropped, cameras that were not used."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from sam_adapt_ros.notices import Notices

SWEEPS_DROPPED, CAMERA_UNUSED = "sweeps_dropped", "camera_unused"
"""Keys of the notices, the second followed by a colon and the camera."""
_SWEEPS = {
    "stamp_zero": "their stamp is 0: the driver has to stamp them",
    "out_of_order": "their stamps do not rise",
    "sync_queue_full": "too many waited for images: lower sync.camera_timeout or raise sync.queue_size",
    "cloud_empty": "they have no points",
}
_CAMERAS = {
    "image_missing": "no image within sync.camera_tolerance of the sweep's stamp",
    "camera_info": "set cameras.{0}.info, or give a calibration file",
    "transform_missing": "publish it on /tf_static, or set cameras.{0}.frame_id or transforms.calibration_file",
}


class Shortfalls:
    """Counts what frames went without, and says it at the end.

    topic: the sweeps'.
    """

    def __init__(self, topic: str, notices: Notices) -> None:
        self._topic, self._notices = topic, notices
        self._cameras: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._details: dict[tuple[str, str], str] = {}

    def without(self, camera: str, reason: str, detail: str = "") -> None:
        """A sweep goes without the camera, or one image of it cannot be read."""
        self._cameras[camera][reason] += 1
        if detail:
            self._details[camera, reason] = detail

    def conclude(self, sweeps: int, frames: int, dropped: Mapping[str, int]) -> None:
        """No more frames will come. sweeps, frames: read and given out. dropped: sweeps by reason."""
        if dropped:
            reasons = "; ".join(_words(reason, count, _SWEEPS.get(reason, "")) for reason, count in dropped.items())
            self._notices.add(
                SWEEPS_DROPPED, f"{self._topic}: {sum(dropped.values())} of {sweeps} sweeps are dropped: {reasons}"
            )
        said = self._notices.as_dict()
        for camera, counts in self._cameras.items():
            explained = {"image_missing": f"camera_sync:{camera}", "transform_missing": "lidar_frame"}
            if all(explained.get(reason) in said for reason in counts):
                continue  # with what to do
            reasons = "; ".join(
                _words(
                    reason,
                    count,
                    self._details.get((camera, reason), ""),
                    _CAMERAS.get(reason, "").format(camera),
                )
                for reason, count in counts.items()
            )
            self._notices.add(
                f"{CAMERA_UNUSED}:{camera}",
                f"camera {camera}: {sum(counts.values())} of {frames} sweeps go without it: {reasons}",
            )


def _words(reason: str, count: int, *why: str) -> str:
    known = ": ".join(text for text in why if text)
    return f"{reason} {count} ({known})" if known else f"{reason} {count}"
