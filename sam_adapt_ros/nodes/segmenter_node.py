"""The segmenter node: a lifecycle node that labels every sweep it can, and counts the others by reason."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NoReturn

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from std_msgs.msg import String

from sam_adapt_ros import resources
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import ConfigError, SamAdaptError
from sam_adapt_ros.nodes.diagnostics import segmenter_status as diagnostics
from sam_adapt_ros.nodes.diagnostics.stream_statistics import Statistics
from sam_adapt_ros.nodes.input.frame_stream import FrameStream
from sam_adapt_ros.nodes.node_main import leave, run_node
from sam_adapt_ros.nodes.parameters import Parameters
from sam_adapt_ros.nodes.segmenter.hot_swap import Model
from sam_adapt_ros.nodes.segmenter.inference import Labelling
from sam_adapt_ros.nodes.segmenter.publishers import Outputs
from sam_adapt_ros.nodes.segmenter.weights_manager import Following

FOLLOW_PERIOD_S = 0.1
WAITING_PERIOD_S = 5.0
WEIGHTS_TOPIC = "adaptation/weights"
"""Where the adapter says that the store has other weights in use."""


class SegmenterNode(LifecycleNode):
    """``configure`` loads the model, ``activate`` opens the stream.

    With ``adaptation.store.folder`` the model is what that store has in use, and ``segmenter.weights`` says of which
    source the store has to be; neither can be changed then before ``cleanup``.

    Raises ConfigError when the parameters do not fit the schema.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("segmenter", automatically_declare_parameters_from_overrides=True, **kwargs)
        self.parameters = Parameters(self)
        self.parameters.apply = self._apply
        self.statistics = Statistics()
        self._model: Model | None = None
        self._following: Following | None = None
        self._nudges: tuple[Timer, Subscription] | None = None
        self._outputs: Outputs | None = None
        self._stream: FrameStream | None = None
        self._reported: Counter[str] = Counter()
        self._waited: tuple[str, float] = ("", 0.0)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # On the steady clock: diagnostics go on while simulated time stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        period = self.config.segmenter.diagnostics_period
        self._diagnostics_timer = self.create_timer(period, self._publish_diagnostics, clock=steady)
        self.create_timer(FOLLOW_PERIOD_S, self._follow, clock=steady)
        backward = Duration(nanoseconds=-round(self.config.sync.max_backward_jump * 1e9) - 1)
        threshold = JumpThreshold(min_forward=None, min_backward=backward, on_clock_change=False)
        self._jumps = self.get_clock().create_jump_callback(threshold, post_callback=self._on_clock_jump)

    @property
    def config(self) -> Config:
        return self.parameters.config

    # Lifecycle --------------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        start = time.monotonic()
        try:
            self._model = Model(self.config)
            self._outputs = Outputs(self, list(self.config.cameras))
            if self.config.adaptation.store.folder:
                self._follow_store(self._model)
        except SamAdaptError as error:
            self.get_logger().error(str(error))
            self._release()
            return TransitionCallbackReturn.FAILURE
        self.parameters.fixed_by = "can only be set before the node is configured"
        segmenter = self._model.current
        self.get_logger().info(
            f"configured in {time.monotonic() - start:.1f} s: weights {segmenter.version} "
            f"({segmenter.taxonomy.name}, {len(segmenter.taxonomy)} classes) on {segmenter.device}"
        )
        return TransitionCallbackReturn.SUCCESS

    def _follow_store(self, model: Model) -> None:
        self._following = following = Following(self.config, model)
        following.start()
        period = self.config.adaptation.store.poll_period
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._nudges = (
            self.create_timer(period, following.look, clock=Clock(clock_type=ClockType.STEADY_TIME)),
            # What it says is in the store as well; it only comes sooner than the next look.
            self.create_subscription(String, WEIGHTS_TOPIC, lambda _: following.look(), latched),
        )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._model is not None and self._outputs is not None
        try:
            observe = self._following.observe if self._following is not None else None
            labelling = Labelling(self._model, self._outputs, self.statistics, observe)
            self._stream = FrameStream(self, self.config, labelling, self.statistics, thread="inference")
        except SamAdaptError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info(
            f"active, {len(self.config.cameras)} cameras: {', '.join(self.config.cameras) or 'none'}"
        )
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close_stream()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def autostart(self) -> None:
        """Configures and activates when the parameters say so. Raises ConfigError when that fails."""
        if not self.config.segmenter.autostart:
            self.get_logger().info("waiting for a lifecycle manager (segmenter.autostart is false)")
            return
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                raise ConfigError(f"{self.get_fully_qualified_name()} could not be started; the log says why")

    def close(self) -> None:
        """Ends cleanly, whatever the state; says what became of the frames."""
        self._close_stream()
        if self._model is not None:
            self._publish_diagnostics()
        self._release()
        statistics = self.statistics
        dropped = ", ".join(f"{count} {reason}" for reason, count in statistics.dropped.items()) or "none"
        self.get_logger().info(
            f"ended: {statistics.frames_in} frames in, {statistics.frames_labelled} labelled, dropped: {dropped}"
        )

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _release(self) -> None:
        self._close_stream()
        if self._outputs is not None:
            self._outputs.close()
        if self._nudges is not None:
            self.destroy_timer(self._nudges[0])
            self.destroy_subscription(self._nudges[1])
        if self._model is not None:
            self._model.close()
        self._outputs = self._model = self._following = self._nudges = None
        self.parameters.fixed_by = ""

    # Parameters -------------------------------------------------------------------------------------------------------

    def _apply(self, config: Config, changed: set[str]) -> None:
        if self._following is not None and "segmenter.weights" in changed:
            raise ConfigError("segmenter.weights: the store that is followed decides (adaptation.store.folder)")
        if self._following is not None and "segmenter.fusion" in changed:
            self._following.reconfigure(config)
        elif self._model is not None and changed & {"segmenter.weights", "segmenter.fusion"}:
            try:
                resources.find(config.segmenter.weights, "resource")
            except FileNotFoundError as error:
                raise ConfigError(f"segmenter.weights: {error}") from None
            self._model.replace(config, self._on_replaced)
        if "segmenter.diagnostics_period" in changed:
            self._diagnostics_timer.timer_period_ns = round(config.segmenter.diagnostics_period * 1e9)
        if self._stream is not None:
            self._stream.reconfigure(config)

    def _on_replaced(self, problem: str) -> None:
        if problem:
            self.get_logger().error(f"the weights in use stay: {problem}")

    # Timers -----------------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        if self._stream is None:
            return
        self._stream.follow()
        waiting = "; ".join(self._stream.waiting_for)
        said, when = self._waited
        now = time.monotonic()
        if waiting != said or (waiting and now - when > WAITING_PERIOD_S):
            self._waited = (waiting, now)
            self.get_logger().info(f"waiting for {waiting}" if waiting else "all inputs have come")

    def _publish_diagnostics(self) -> None:
        name = self.get_fully_qualified_name().lstrip("/")
        dropped = Counter(self.statistics.dropped)
        stream = self._stream
        waiting, counts = (stream.waiting_for, stream.sync_counts) if stream is not None else (["activation"], {})
        statuses = [
            diagnostics.stream_status(name, self.statistics, waiting, dropped - self._reported, counts),
            diagnostics.latency_status(name, self.statistics),
            diagnostics.model_status(name, self._model, self.config.segmenter.weights, self._following),
        ]
        self._reported = dropped
        self._diagnostics.publish(diagnostics.diagnostic_array(self.get_clock().now().to_msg(), statuses))

    def _on_clock_jump(self, jump: TimeJump) -> None:
        # The stamps of the messages themselves tell the synchronizer; this is for people who wonder.
        self.statistics.warn("clock_jump")
        self.get_logger().info(f"simulated time jumped by {jump.delta.nanoseconds * 1e-9:.1f} s")


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Console entry point."""
    leave(run_node(SegmenterNode, SegmenterNode.autostart, SegmenterNode.close, args))


if __name__ == "__main__":
    main()
