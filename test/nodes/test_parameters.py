from __future__ import annotations

from typing import Any

import pytest
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import ConfigError
from sam_adapt_ros.nodes.parameters import CHANGEABLE, Parameters


def parameter_node(context: Context, **values: Any) -> tuple[Node, Parameters]:
    overrides = [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]
    node = Node(
        "parameters",
        context=context,
        use_global_arguments=False,
        parameter_overrides=overrides,
        automatically_declare_parameters_from_overrides=True,
    )
    return node, Parameters(node)


def test_parameters_are_the_schema_by_flat_names(context: Context) -> None:
    node, parameters = parameter_node(
        context, taxonomy="town", cameras__left__image="/left", sync__camera_timeout=1, use_sim_time=True
    )
    try:
        assert parameters.config.cameras["left"].image == "/left"
        assert parameters.config.sync.camera_timeout == 1.0  # 1 stands for 1.0
        for name, value in parameters.config.to_flat().items():
            assert node.get_parameter(name).value == ([""] if value == [] else value), name
        assert set(parameters.config.to_flat()) >= CHANGEABLE
        applied: list[set[str]] = []
        parameters.apply = lambda config, changed: applied.append(changed)

        def put(name: str, value: Any) -> str:
            (result,) = node.set_parameters([Parameter(name, value=value)])
            return "" if result.successful else result.reason

        assert put("sync.camera_timeout", 0.25) == ""
        assert put("sync.camera_timeout", 0.25) == ""  # no change, nothing to apply
        assert applied == [{"sync.camera_timeout"}]
        assert parameters.config.sync.camera_timeout == 0.25
        assert "greater than 0" in put("segmenter.diagnostics_period", 0.0)
        assert "'mean'" in put("segmenter.fusion", "median")
        assert put("cameras.left.image", "/other") == ""  # the node is not configured yet
        parameters.fixed_by = "can only be set before the node is configured"
        assert "cameras.left.image: can only be set" in put("cameras.left.image", "/left")
        assert put("use_sim_time", False) == ""

        def refuse(config: Config, changed: set[str]) -> None:
            raise ConfigError("not today")

        parameters.apply = refuse
        assert put("segmenter.fusion", "mean") == "not today"
        assert parameters.config.segmenter.fusion == "product"
        assert node.get_parameter("segmenter.fusion").value == "product"
    finally:
        node.destroy_node()


def test_an_empty_list_is_one_that_a_dumped_parameter_file_can_hold(context: Context) -> None:
    """``ros2 param dump`` writes the values of ``get_parameter``; rclpy refuses to start with ``[]``."""
    node, parameters = parameter_node(context, training__bags=[""])
    try:
        assert parameters.config.training.bags == []
        for value, expected in ((["/a"], ["/a"]), ([""], []), ([], [])):
            (result,) = node.set_parameters([Parameter("training.bags", value=value)])
            assert result.successful, result.reason
            assert parameters.config.training.bags == expected
    finally:
        node.destroy_node()


def test_parameters_describe_themselves(context: Context) -> None:
    node, parameters = parameter_node(context, cameras__left__image="/left")
    try:
        for name in parameters.config.to_flat():
            assert node.describe_parameter(name).description, name
        timeout, nice, share = map(
            node.describe_parameter,
            ("sync.camera_timeout", "adaptation.resources.nice", "adaptation.buffer.held_out"),
        )
        assert timeout.description.endswith("[s]") and timeout.additional_constraints == "at least 0"
        assert [(r.from_value, r.to_value) for r in nice.integer_range] == [(0, 19)]
        assert [(r.from_value, r.to_value) for r in share.floating_point_range] == [(0.0, 0.5)]
        assert "topic" in node.describe_parameter("cameras.left.image").description
        (result,) = node.set_parameters([Parameter("adaptation.resources.nice", value=20)])
        assert not result.successful and "adaptation.resources.nice" in result.reason and "20" in result.reason
    finally:
        node.destroy_node()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"segmenter__devise": "cpu"}, "segmenter.devise"),
        ({"sync__queue_size": 0}, "sync.queue_size"),
        ({"cameras__left__info": "/info"}, "cameras.left.image"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name(context: Context, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        parameter_node(context, **values)
