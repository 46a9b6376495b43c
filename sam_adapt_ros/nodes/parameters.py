"""The configuration schema as ROS parameters: declared by their flat names, checked as a whole; some may be changed
while the node runs."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult

from sam_adapt_ros.config import Config, reference
from sam_adapt_ros.config.parameter_file import is_of_ros
from sam_adapt_ros.errors import ConfigError, SamAdaptError

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.parameter import Parameter

CHANGEABLE = frozenset(
    {
        "segmenter.weights",
        "segmenter.fusion",
        "segmenter.queue_size",
        "segmenter.diagnostics_period",
        "sync.camera_timeout",
        "sync.camera_tolerance",
        "sync.queue_size",
        "sync.max_backward_jump",
        "transforms.timeout",
    }
)
"""Take effect while the node is configured; the others only before ``configure``."""


class Parameters:
    """The node's configuration as its parameters hold it.

    The node must have been made with ``automatically_declare_parameters_from_overrides``, so that names that the
    schema knows only by pattern (``cameras.<name>.image``) are declared, too, and unknown ones are noticed.
    Raises ConfigError when the overrides do not fit the schema.
    """

    def __init__(self, node: Node) -> None:
        names = [name for name in node.get_parameters_by_prefix("") if not is_of_ros(name)]
        given = {parameter.name: _plain(parameter.value) for parameter in node.get_parameters(names)}
        self.config = Config.from_flat(given, source="parameters")
        self.fixed_by: str = ""
        """Why parameters that are not CHANGEABLE cannot be set now; "" when they can."""
        self.apply: Callable[[Config, set[str]], None] = lambda config, changed: None
        """Called with a valid new configuration and the names that changed; may refuse by a SamAdaptError."""
        for name, value in self.config.to_flat().items():
            if name in given:
                node.undeclare_parameter(name)  # declared anew with the schema's type: 1 may mean 1.0
            # [""] stands for [], which ROS cannot hold: a dumped parameter file would not load again.
            node.declare_parameter(name, [""] if value == [] else value, _descriptor(name, value), ignore_override=True)
        node.add_on_set_parameters_callback(self._set)

    def _set(self, parameters: Iterable[Parameter]) -> SetParametersResult:
        before = self.config.to_flat()
        requested = {p.name: _plain(p.value) for p in parameters if p.name in before}
        try:
            config = Config.from_flat({**before, **requested})
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        after = config.to_flat()
        changed = {name for name in requested if after[name] != before[name]}
        fixed = sorted(changed - CHANGEABLE)
        if fixed and self.fixed_by:
            return SetParametersResult(successful=False, reason=f"{', '.join(fixed)}: {self.fixed_by}")
        try:
            if changed:
                self.apply(config, changed)
        except SamAdaptError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.config = config
        return SetParametersResult(successful=True)


def _descriptor(name: str, value: Any) -> ParameterDescriptor:
    """What ``ros2 param describe`` shows. ROS has no ranges that are open at an end: those are words, for people."""
    known = reference.find_parameter(name)
    # An empty list has no type of its own.
    descriptor = ParameterDescriptor(
        description=known.description, dynamic_typing=isinstance(value, list) and not value
    )
    if known.limits is None:
        descriptor.additional_constraints = known.range
        return descriptor
    low, high = known.limits
    if known.type == "int":
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    else:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    return descriptor


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, array.array | tuple) else value
