"""The nodes' own topics, relative to their namespace."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

LABELS = "segmentation/labels"
WEIGHTS = "adaptation/weights"
"""The version that the weight store has in use; latched."""
STATUS = "adaptation/status"
DIAGNOSTICS = "/diagnostics"
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
