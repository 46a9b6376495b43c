"""The Fast DDS profile that lets images through shared memory whole."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from sam_adapt_ros import resources

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Fast DDS 2 (Humble, Jazzy) and 3 read one each."""


def use_profile(environment: MutableMapping[str, str] = os.environ) -> None:
    """Names ``config/fastdds.xml`` in the environment, unless the user has named a profile; before ``rclpy.init``."""
    if not any(environment.get(variable) for variable in PROFILE_VARIABLES):
        path = str(resources.share_directory() / "config" / "fastdds.xml")
        environment.update(dict.fromkeys(PROFILE_VARIABLES, path))
