"""The simulated town: drives with exact labels and known domain shifts, for the demo, benchmarks and tests.

The nodes and the libraries do not import it.
"""

from sam_adapt_ros.simulation.domains import DOMAINS, Domain
from sam_adapt_ros.simulation.drive import Drive, frames, render_drive
from sam_adapt_ros.simulation.version import domains_hash

__all__ = ["DOMAINS", "Domain", "Drive", "domains_hash", "frames", "render_drive"]
