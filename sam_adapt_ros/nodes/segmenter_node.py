"""The segmenter node: a lifecycle node that labels every sweep it can, and counts the others by reason."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NoReturn

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from std_msgs.msg import String

from sam_adapt_ros.config import Config, find_weights
from sam_adapt_ros.errors import ConfigError, SamAdaptError
from sam_adapt_ros.nodes import topics
from sam_adapt_ros.nodes.diagnostics.diagnostic_messages import diagnostic_array
from sam_adapt_ros.nodes.diagnostics.segmenter_status import latency_status, model_status, stream_status
from sam_adapt_ros.nodes.diagnostics.stream_statistics import StreamStatistics
from sam_adapt_ros.nodes.input.frame_decoder import FrameDecoder
from sam_adapt_ros.nodes.input.frame_stream import FrameStream
from sam_adapt_ros.nodes.input.synchronizer import SynchronizedSweep
from sam_adapt_ros.nodes.input.work_queue import WorkQueue
from sam_adapt_ros.nodes.node_main import exit_now, run_node
from sam_adapt_ros.nodes.parameters import Parameters
from sam_adapt_ros.nodes.segmenter.hot_swap import SegmenterSlot
from sam_adapt_ros.nodes.segmenter.inference import InferenceCallback
from sam_adapt_ros.nodes.segmenter.publishers import SegmenterPublishers
from sam_adapt_ros.nodes.segmenter.weights_manager import WeightsManager
from sam_adapt_ros.nodes.throttled_logger import ThrottledLogger
from sam_adapt_ros.nodes.timers import steady_timer


class SegmenterNode(LifecycleNode):
    """``configure`` loads the model, ``activate`` opens the stream.

    With ``adaptation.store.folder`` the model is the version that this store has in use, and ``segmenter.weights`` is
    the source model that the store has to be of; neither can be changed then before ``cleanup``.

    Raises ConfigError when the parameters do not fit the schema.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("segmenter", automatically_declare_parameters_from_overrides=True, **kwargs)
        self.parameters = Parameters(self)
        self.parameters.apply = self._apply
        self.statistics = StreamStatistics(ThrottledLogger(self.get_logger()))
        self._slot: SegmenterSlot | None = None
        self._manager: WeightsManager | None = None
        self._store_updates: tuple[Timer, Subscription] | None = None
        self._outputs: SegmenterPublishers | None = None
        self._stream: FrameStream | None = None
        self._queue: WorkQueue[SynchronizedSweep] | None = None
        self._reported_drops: Counter[str] = Counter()
        self._diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, 10)
        period = self.config.segmenter.diagnostics_period
        self._diagnostics_timer = steady_timer(self, period, self._publish_diagnostics)
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
            self._slot = SegmenterSlot(self.config)
            self._outputs = SegmenterPublishers(self, self.config.cameras)
            if self.config.adaptation.store.folder:
                self._follow_store(self._slot)
        except SamAdaptError as error:
            self.get_logger().error(f"not configured, no sweep is labelled: {error}")
            self._release()
            return TransitionCallbackReturn.FAILURE
        self.parameters.fixed_by = "can only be set before the node is configured"
        segmenter = self._slot.current
        self.statistics.notices.update(segmenter.notices)
        self.get_logger().info(
            f"configured in {time.monotonic() - start:.1f} s: weights {segmenter.version} "
            f"({segmenter.taxonomy.name}, {len(segmenter.taxonomy)} classes) on {segmenter.device}"
        )
        return TransitionCallbackReturn.SUCCESS

    def _follow_store(self, slot: SegmenterSlot) -> None:
        self._manager = manager = WeightsManager(self.config, slot)
        manager.start()
        self._store_updates = (
            steady_timer(self, self.config.adaptation.store.poll_period, manager.poll),
            # The announcement repeats the store's content; it only arrives before the next poll.
            self.create_subscription(String, topics.WEIGHTS, lambda _: manager.poll(), topics.LATCHED),
        )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._slot is not None and self._outputs is not None
        config, statistics = self.config, self.statistics
        decoder = FrameDecoder(config, statistics)
        monitor = None if self._manager is None else self._manager.observe
        inference = InferenceCallback(decoder, self._slot, self._outputs, statistics, monitor)
        prepare = self._slot.prepare_thread
        try:
            self._queue = WorkQueue(inference, config.segmenter.queue_size, self._on_drop, "inference", prepare)
            statistics.notices.update(self._slot.current.notices)
            self._stream = FrameStream(self, config, decoder, self._queue.put, statistics)
        except SamAdaptError as error:
            self.get_logger().error(f"not activated, no sweep is labelled: {error}")
            self._close_stream()
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info(f"active, {len(config.cameras)} cameras: {', '.join(config.cameras) or 'none'}")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close_stream()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    on_shutdown = on_error = on_cleanup

    def autostart(self) -> None:
        """Configures and activates when the parameters say so. Raises ConfigError when that fails."""
        if not self.config.segmenter.autostart:
            self.get_logger().info("waiting for a lifecycle manager (segmenter.autostart is false)")
            return
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                raise ConfigError(f"{self.get_fully_qualified_name()} could not be started; its log names the reason")

    def close(self) -> None:
        """Ends cleanly, whatever the state; logs what became of the frames."""
        self._close_stream()
        if self._slot is not None:
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
        if self._queue is not None:
            self._queue.stop()
        self._stream = self._queue = None

    def _release(self) -> None:
        self._close_stream()
        if self._outputs is not None:
            self._outputs.close()
        if self._store_updates is not None:
            self.destroy_timer(self._store_updates[0])
            self.destroy_subscription(self._store_updates[1])
        if self._slot is not None:
            self._slot.close()
        self._outputs = self._slot = self._manager = self._store_updates = None
        self.parameters.fixed_by = ""

    # Parameters -------------------------------------------------------------------------------------------------------

    def _apply(self, config: Config, changed: set[str]) -> None:
        if self._manager is not None and "segmenter.weights" in changed:
            raise ConfigError(
                "segmenter.weights: the weight store decides which weights are in use (adaptation.store.folder); "
                "`sam-adapt weights` changes that"
            )
        if self._manager is not None and "segmenter.fusion" in changed:
            self._manager.reconfigure(config)
        elif self._slot is not None and changed & {"segmenter.weights", "segmenter.fusion"}:
            find_weights(config.segmenter.weights)
            self._slot.replace(config)
        if "segmenter.diagnostics_period" in changed:
            self._diagnostics_timer.timer_period_ns = round(config.segmenter.diagnostics_period * 1e9)
        if self._queue is not None:
            self._queue.queue_size = config.segmenter.queue_size
        if self._stream is not None:
            self._stream.reconfigure(config)

    # Diagnostics ------------------------------------------------------------------------------------------------------

    def _publish_diagnostics(self) -> None:
        name = self.get_fully_qualified_name().lstrip("/")
        dropped = Counter(self.statistics.dropped)
        stream = self._stream
        waiting, counts = (stream.waiting_for, stream.sync_counts) if stream is not None else (["activation"], {})
        statuses = [
            stream_status(name, self.statistics, waiting, dropped - self._reported_drops, counts),
            latency_status(name, self.statistics),
            model_status(name, self._slot, self.config.segmenter.weights, self._manager),
        ]
        self._reported_drops = dropped
        self._diagnostics.publish(diagnostic_array(self.get_clock().now().to_msg(), statuses))

    def _on_drop(self, sweep: SynchronizedSweep, reason: str, details: str) -> None:
        self.statistics.drop(reason, sweep.stamp_ns, details)

    def callback_failed(self, error: Exception) -> None:
        """Counts what a callback raised."""
        self.statistics.callback_failed(error)

    def _on_clock_jump(self, jump: TimeJump) -> None:
        # The synchronizer notices it by the messages' stamps; this is for people who read the log.
        self.statistics.warn("clock_jump")
        self.get_logger().info(
            f"simulated time jumped by {jump.delta.nanoseconds * 1e-9:.1f} s; synchronization restarts"
        )


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Console entry point."""
    exit_now(run_node(SegmenterNode, SegmenterNode.autostart, SegmenterNode.close, SegmenterNode.callback_failed, args))


if __name__ == "__main__":
    main()
