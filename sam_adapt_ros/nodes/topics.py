"""The nodes' own topics, relative to their namespace."""

from __future__ import annotations

import re

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

LABELS = "segmentation/labels"
WEIGHTS = "adaptation/weights"
"""The version that the weight store has in use; latched."""
STATUS = "adaptation/status"
DIAGNOSTICS = "/diagnostics"
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def overlay(camera: str) -> str:
    """The topic of a camera's overlay, below the segmenter's name."""
    return f"overlay/{topic_token(camera)}/compressed"


def topic_token(name: str) -> str:
    """A camera's name as a part of a topic's name: letters, digits, underscores."""
    token = re.sub(r"\W", "_", name, flags=re.ASCII)
    return token if token[:1].isalpha() or token.startswith("_") else f"camera_{token}"
