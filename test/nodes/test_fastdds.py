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


def test_whatever_the_user_has_chosen_is_left_alone(tmp_path: Path) -> None:
    assert set(fastdds.profile_variables({}, tmp_path)) == set(fastdds.PROFILE_VARIABLES)
    for variable in (*fastdds.PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS"):
        assert fastdds.profile_variables({variable: "own"}, tmp_path) == {}
    (tmp_path / "DEFAULT_FASTRTPS_PROFILES.xml").touch()  # Fast DDS reads it in the working folder
    assert fastdds.profile_variables({}, tmp_path) == {}
    assert fastdds.profile_variables({"SKIP_DEFAULT_XML_FILE": "1"}, tmp_path)
