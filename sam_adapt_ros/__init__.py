"""Camera + LiDAR semantic segmentation for ROS 2 that adapts itself to new domains.

Rooms, in the order data flows (a room imports only from rooms above it): ``config``, ``taxonomy``, ``frame``,
``geometry``, ``messages``, ``bags``, ``town``, ``segmentation``, ``masks``, ``pseudo_labels``, ``evaluation``,
``replay``, ``nodes``, ``cli``. Only ``nodes`` imports ``rclpy``.
"""

__version__ = "0.1.0"
