from __future__ import annotations

from pathlib import Path

from sam_adapt_ros.nodes import fastdds


def test_the_profile_is_named_unless_the_user_names_one() -> None:
    environment: dict[str, str] = {}
    fastdds.use_profile(environment)
    assert set(environment) == set(fastdds.PROFILE_VARIABLES)
    assert all(Path(path).is_file() for path in environment.values())
    own = {"FASTRTPS_DEFAULT_PROFILES_FILE": "/own.xml"}
    fastdds.use_profile(own)
    assert own == {"FASTRTPS_DEFAULT_PROFILES_FILE": "/own.xml"}
