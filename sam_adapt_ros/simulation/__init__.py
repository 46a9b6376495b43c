"""A procedural town: test bed and demo, with exact labels and known domain shifts. No product path imports it."""

from sam_adapt_ros.simulation.domains import DOMAINS, Domain
from sam_adapt_ros.simulation.drive import Drive, frames, render_drive

__all__ = ["DOMAINS", "Domain", "Drive", "frames", "render_drive"]
