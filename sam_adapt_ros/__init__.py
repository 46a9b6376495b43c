"""Camera + LiDAR semantic segmentation for ROS 2 that adapts itself to new domains.

The folders are floors, from the ground up; each imports only from those before it: ``frame``, ``taxonomy``,
``errors``, ``resources``, ``config``, ``io``, ``geometry``, ``messages``, ``bags``, ``datasets``, ``simulation``,
``segmentation``, ``evaluation``, ``training``, ``masks``, ``pseudo_labels``, ``adaptation``, ``visualization``,
``nodes``, ``pipelines``, ``benchmarks``, ``cli``. Only ``nodes`` imports ``rclpy``.
"""

import getpass
import os
import tempfile

# Before anything loads torch: its OpenMP threads otherwise spin while they wait for each other, and where another
# process uses the same cores (a vehicle's usual state) a frame takes many times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# PyTorch 2.11 names a folder after the user when it is imported, and fails for a user id without a name, as in a
# container that is started with any id.
try:
    getpass.getuser()
except (KeyError, OSError):
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor_{os.getuid()}")

__version__ = "0.1.0"
