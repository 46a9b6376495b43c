"""Camera + LiDAR semantic segmentation for ROS 2 that adapts itself to new domains.

Rooms, in the order data flows (a room imports only from rooms above it): ``config``, ``taxonomy``, ``frame``,
``geometry``, ``messages``, ``bags``, ``town``, ``segmentation``, ``masks``, ``pseudo_labels``, ``evaluation``,
``replay``, ``nodes``, ``cli``. Only ``nodes`` imports ``rclpy``.
"""

import os

# Before anything loads torch: its OpenMP threads otherwise spin while they wait for each other, and where another
# process wants the same cores (a vehicle's usual state) a frame takes many times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
