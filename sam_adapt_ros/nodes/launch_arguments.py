"""The arguments of ``ros2 launch sam_adapt_ros adapt.launch.py`` and ``sam-adapt run``, and what they mean.

Neither rclpy nor launch is imported here: the launch file and the command line both read this one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from sam_adapt_ros.config import Config, FilePath, ParameterFile, find_configuration
from sam_adapt_ros.config.adaptation import AdaptationMode
from sam_adapt_ros.config.parameter_file import is_of_ros
from sam_adapt_ros.errors import ConfigError, describe_validation
from sam_adapt_ros.messages.calibration_file import CALIBRATION_FILE
from sam_adapt_ros.resources import PACKAGE, user_folder

AUTO: Final = "auto"
OFF: Final = "off"
Mode = Literal["auto", AdaptationMode, "off"]
UseSimTime = Literal["auto", "true", "false"]
Switch = Literal["true", "false"]
LogLevel = Literal["debug", "info", "warn", "error", "fatal"]
_SWITCHES = {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _switch(value: Any) -> Any:
    """Launch files of Python give ``True``; ROS's conditions take 1, too."""
    text = str(value).lower()
    return _SWITCHES.get(text, text)


class LaunchArguments(BaseModel):
    """Every argument is text, as in ROS 2 launch; one without choices may be "", which means that it is not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    params_file: FilePath = Field(
        "nuscenes", description="A preset (town, nuscenes, kitti, ...) or a ROS parameter file."
    )
    mode: Annotated[Mode, BeforeValidator(_lower)] = Field(
        AUTO,
        description="How to learn: source_free, with_source, or observe (everything but training); auto: as in the "
        "parameter file; off: no adapter is started, and the segmenter follows no weight store.",
    )
    weights: FilePath = Field("", description="Weights of the source model; the parameter file's by default.")
    sam_checkpoint: FilePath = Field("", description="A checkpoint of Segment Anything, which then makes the masks.")
    store: FilePath = Field(
        "",
        description="Folder of the weight store; the parameter file's by default, else "
        "$ROS_HOME/sam_adapt_ros/<namespace>/store.",
    )
    use_sim_time: Annotated[UseSimTime, BeforeValidator(_switch)] = Field(
        AUTO, description="Whether time comes from /clock; auto: when a bag is played, or the parameter file says so."
    )
    namespace: str = Field("", description="Namespace of the nodes.")
    rviz: Annotated[Switch, BeforeValidator(_switch)] = Field("false", description="Whether to open RViz.")
    bag: FilePath = Field("", description="A rosbag2 to play, with /clock, once the nodes have subscribed to it.")
    respawn: Annotated[Switch, BeforeValidator(_switch)] = Field(
        "true", description="Whether a node that ends is started again, unless its parameters do not fit."
    )
    log_level: Annotated[LogLevel, BeforeValidator(_lower)] = Field("info", description="The nodes' log level.")

    @classmethod
    def parse(cls, values: Mapping[str, str]) -> LaunchArguments:
        """From text by name. Raises ConfigError, in one line."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigError(f"launch arguments: {describe_validation(error)}") from None

    def of_ros(self, node: str = "") -> dict[str, Any]:
        """The parameters that are ROS's own, ``use_sim_time`` among them. Raises ConfigError.

        node: ``segmenter``, ``adapter``, or "" for both.
        """
        given = ParameterFile.read(find_configuration(self.params_file)).parameters(node, self.namespace)
        values = {name: value for name, value in given.items() if is_of_ros(name) and value is not None}
        simulated = bool(self.bag) or values.get("use_sim_time") is True
        return {**values, "use_sim_time": simulated if self.use_sim_time == AUTO else self.use_sim_time == "true"}

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
        values["adaptation.store.folder"] = "" if self.mode == OFF else named or str(default_store(self.namespace))
        return values | (bag_calibration(config, self.bag) if self.bag else {})

    def configure(self, overrides: Mapping[str, Any] | None = None, node: str = "") -> Config:
        """The configuration that a node is started with. Raises ConfigError.

        overrides: dotted name -> value; they take precedence over the parameter file, the arguments over both.
        node: ``segmenter``, ``adapter``, or "" for both.
        """
        config = Config.load(self.params_file, overrides, node, self.namespace)
        return config.updated(self.parameters(config), source="arguments")


def observes(config: Config) -> bool:
    """Whether an adapter runs that never trains: only the frames of a bag lead to a result."""
    return bool(config.adaptation.store.folder) and config.adaptation.mode == "observe"


def default_store(namespace: str = "") -> Path:
    """``$ROS_HOME/sam_adapt_ros/<namespace>/store``: vehicles that share a machine do not share what they learn. ROS's
    home is ``~/.ros`` by default. Raises ConfigError where none is known."""
    return user_folder("ROS_HOME", ".ros").joinpath(PACKAGE, *namespace.strip("/").split("/"), "store")


def absolute_name(namespace: str, name: str) -> str:
    """The full name, with a slash in front, of a topic, a node or a namespace that is called ``name`` inside of a
    namespace; a name that begins with a slash is full already."""
    full = name if name.startswith("/") else f"{namespace}/{name}"
    return "/" + "/".join(part for part in full.split("/") if part)


def bag_calibration(config: Config, bag: str | Path) -> dict[str, str]:
    """The parameter for a bag's own calibration file, where the bag has one and the configuration names none."""
    file = Path(bag).absolute() / CALIBRATION_FILE
    if config.transforms.calibration_file or not file.is_file():
        return {}
    return {"transforms.calibration_file": str(file)}
