"""The arguments of ``ros2 launch sam_adapt_ros adapt.launch.py`` and ``sam-adapt run``, and what they mean.

Neither rclpy nor launch is imported here: the launch file and the command line both read this one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from sam_adapt_ros.config import Config, FilePath
from sam_adapt_ros.messages.calibration_file import CALIBRATION_FILE
from sam_adapt_ros.resources import PACKAGE, user_folder

AUTO: Final = "auto"
OFF: Final = "off"
Mode = Literal["auto", "source_free", "with_source", "observe", "off"]
UseSimTime = Literal["auto", "true", "false"]
LogLevel = Literal["debug", "info", "warn", "error", "fatal"]


class LaunchArguments(BaseModel):
    """Every argument is text, as in ROS 2 launch; one without choices may be "", which means that it is not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    params_file: FilePath = Field("nuscenes", description="A preset (town, nuscenes, kitti) or a ROS parameter file.")
    mode: Mode = Field(
        AUTO,
        description="How to learn: source_free, with_source, or observe (everything but training); auto: as in the "
        "parameter file; off: no adapter is started, and the segmenter follows no weight store.",
    )
    weights: FilePath = Field("", description="Weights of the source model; the parameter file's by default.")
    sam_checkpoint: FilePath = Field("", description="A checkpoint of Segment Anything, which then makes the masks.")
    store: FilePath = Field(
        "",
        description="Folder of the weight store; the parameter file's by default, else $ROS_HOME/sam_adapt_ros/store.",
    )
    use_sim_time: UseSimTime = Field(AUTO, description="Whether time comes from /clock; auto: when a bag is played.")
    namespace: str = Field("", description="Namespace of the nodes.")
    rviz: Literal["true", "false"] = Field("false", description="Whether to open RViz.")
    bag: FilePath = Field("", description="A rosbag2 to play, with /clock, once the segmenter is active.")
    log_level: LogLevel = Field("info", description="The nodes' log level.")

    @property
    def simulated_time(self) -> bool:
        """Whether the nodes take the time from ``/clock``."""
        return bool(self.bag) if self.use_sim_time == AUTO else self.use_sim_time == "true"

    def parameters(self, config: Config) -> dict[str, Any]:
        """The parameters by which the arguments override a configuration, by dotted name."""
        values: dict[str, Any] = {}
        if self.mode not in (AUTO, OFF):
            values["adaptation.mode"] = self.mode
        if self.weights:
            values["segmenter.weights"] = self.weights
        if self.sam_checkpoint:
            values |= {"masks.generator": "sam_lidar+segments", "masks.sam.checkpoint": self.sam_checkpoint}
        named = self.store or config.adaptation.store.folder
        values["adaptation.store.folder"] = "" if self.mode == OFF else named or str(default_store())
        return values | (bag_calibration(config, self.bag) if self.bag else {})

    def configure(self, overrides: Mapping[str, Any] | None = None) -> Config:
        """The configuration that the nodes are started with. Raises ConfigError.

        overrides: dotted name -> value; they take precedence over the parameter file, the arguments over both.
        """
        config = Config.load(self.params_file, dict(overrides or {}))
        return config.updated(self.parameters(config), source="arguments")


def observes(config: Config) -> bool:
    """Whether an adapter runs that never trains: only the frames of a bag lead to a result."""
    return bool(config.adaptation.store.folder) and config.adaptation.mode == "observe"


def default_store() -> Path:
    """``$ROS_HOME/sam_adapt_ros/store``; by default ``~/.ros``. Raises ConfigError where none is known."""
    return user_folder("ROS_HOME", ".ros") / PACKAGE / "store"


def bag_calibration(config: Config, bag: str | Path) -> dict[str, str]:
    """The parameter for a bag's own calibration file, where the bag has one and the configuration names none."""
    file = Path(bag).absolute() / CALIBRATION_FILE
    if config.transforms.calibration_file or not file.is_file():
        return {}
    return {"transforms.calibration_file": str(file)}
