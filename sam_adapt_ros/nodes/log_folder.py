"""Where ROS keeps its log files: a process without a home folder has a place for them, too."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.resources import user_folder

logger = logging.getLogger(__name__)


def ensure_log_folder(environment: MutableMapping[str, str] = os.environ) -> None:
    """To be called before ``rclpy.init``, which fails where ROS cannot make its log folder (``$ROS_LOG_DIR``,
    ``$ROS_HOME/log``, ``~/.ros/log``): an unnamed user or a read-only home. The temporary folder takes its place then.
    """
    try:
        folder = Path(environment.get("ROS_LOG_DIR") or user_folder("ROS_HOME", ".ros") / "log").expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return
        reason = f"{folder} cannot be written"
    except (ConfigError, OSError, RuntimeError) as error:
        reason = str(error)
    environment["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="ros_log_")
    logger.warning("ROS logs to %s (ROS_LOG_DIR), since %s", environment["ROS_LOG_DIR"], reason)
