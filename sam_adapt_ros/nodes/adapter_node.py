"""The adapter node: learns from the sensors and from the labels that the segmenter predicts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from sam_adapt_ros.adaptation import StoreWatcher
from sam_adapt_ros.adaptation.round_summary import findings
from sam_adapt_ros.adaptation.weight_store.pointer import Pointer
from sam_adapt_ros.bags import remove_unpacked
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import ConfigError, StoreError
from sam_adapt_ros.messages import stamp_ns
from sam_adapt_ros.nodes import topics
from sam_adapt_ros.nodes.adapter.exact_time_sync import ExactTimeSync
from sam_adapt_ros.nodes.adapter.frame_intake import FrameIntake
from sam_adapt_ros.nodes.adapter.request_queue import Answer
from sam_adapt_ros.nodes.adapter.resource_limits import limit_process_resources
from sam_adapt_ros.nodes.adapter.training_thread import TrainingThread
from sam_adapt_ros.nodes.diagnostics.adapter_status import (
    LearningStatus,
    account_of_frames,
    observation_status,
    store_status,
)
from sam_adapt_ros.nodes.diagnostics.diagnostic_messages import diagnostic_array
from sam_adapt_ros.nodes.diagnostics.stream_statistics import StreamStatistics
from sam_adapt_ros.nodes.input.frame_decoder import FrameDecoder
from sam_adapt_ros.nodes.input.frame_stream import FrameStream
from sam_adapt_ros.nodes.input.subscriptions import TopicSubscription
from sam_adapt_ros.nodes.input.synchronizer import SynchronizedSweep
from sam_adapt_ros.nodes.node_main import exit_now, run_node
from sam_adapt_ros.nodes.parameters import Parameters
from sam_adapt_ros.nodes.throttled_logger import ThrottledLogger
from sam_adapt_ros.nodes.timers import steady_timer

STREAM_END_S = 3.0
"""After this long without a sweep, the stream counts as ended (for now)."""
_STREAM_END_CHECK_S = 0.1


class AdapterNode(Node):
    """Receives and learns from ``start`` to ``close``.

    Raises ConfigError when the parameters do not fit the schema or name no store.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("adapter", automatically_declare_parameters_from_overrides=True, **kwargs)
        self.parameters = Parameters(self)
        self.parameters.apply = self._apply
        config = self.config
        store = config.adaptation.store
        if not store.folder:
            raise ConfigError(
                "adaptation.store.folder: the folder of the weight store expected, got nothing; "
                "the adapter needs one to keep what it learns"
            )
        log = ThrottledLogger(self.get_logger())
        self.statistics = StreamStatistics(log)
        self.training = TrainingThread(config)
        self._decoder = FrameDecoder(config, self.statistics)
        self._intake = FrameIntake(self._decoder, self.training, log)
        self._sync = ExactTimeSync(self._intake.add, self.statistics.notices)
        self._stream: FrameStream | None = None
        self._watcher = StoreWatcher(store.folder)
        self._pointer: Pointer | None = None
        self._rollbacks = 0
        self._progress: tuple[tuple[int, int, bool], float] = ((0, 0, False), 0.0)
        self._reported_progress = self._progress[0]
        self._weights = self.create_publisher(String, topics.WEIGHTS, topics.LATCHED)
        self._statuses = [
            self.create_publisher(DiagnosticArray, topic, 10) for topic in (topics.STATUS, topics.DIAGNOSTICS)
        ]
        self._learning_status = LearningStatus(self._name, self.training)
        self._status_timer = steady_timer(self, config.segmenter.diagnostics_period, self._publish_status)
        steady_timer(self, store.poll_period, self._poll_store)
        if self.training.observing:
            steady_timer(self, _STREAM_END_CHECK_S, self._check_stream_end)
        self._serve("trigger", Trigger, lambda request: self.training.trigger())
        self._serve("pause", SetBool, lambda request: self.training.pause(request.data))
        self._serve("reset", Trigger, lambda request: self.training.reset())
        self._serve("rollback", Trigger, lambda request: self._roll_back())
        self._serve("save", Trigger, lambda request: self.training.save())

    @property
    def config(self) -> Config:
        return self.parameters.config

    def start(self) -> None:
        """Limits the process's resources, opens the store and the stream.

        Raises CalibrationError when the calibration file does not fit.
        """
        limit_process_resources(self.config.adaptation.resources)
        topic = self.resolve_topic_name(topics.LABELS)
        labels = TopicSubscription(self, topic, [PointCloud2], self._add_labels, self.statistics)
        self._stream = FrameStream(self, self.config, self._decoder, self._add_sweep, self.statistics, [labels])
        self.parameters.fixed_by = "can only be set before the adapter starts"
        self._poll_store()
        self.training.start()

    def close(self) -> None:
        """Ends cleanly; a round that is under way is resumed by the next process."""
        self._log_summary()  # first: the launch system may kill a process that takes long to stop
        stopped = self.training.close()
        if self._stream is not None:
            self._stream.close()
        self._intake.close()
        self._publish_status()
        counts = self.training.counts
        self.get_logger().info(
            f"ended: {self._intake.counts['kept']} frames kept, {counts['promotions']} promotions, "
            f"{counts['rejections']} rejections{'' if stopped else '; the present step was cut off'}"
        )

    def _log_summary(self) -> None:
        self._log_account()
        if self.training.observing and self.training.decision is not None:
            for line in findings(self.training.decision.facts):
                self.get_logger().info(f"observe: {line}")
        if self.training.in_round:
            self.get_logger().info("a round is under way: the next start with this store resumes it")

    def _log_account(self) -> None:
        for line in account_of_frames(self.statistics, self._sync, self._intake, self.training):
            self.get_logger().info(line)

    # Inputs -----------------------------------------------------------------------------------------------------------

    def _add_sweep(self, sweep: SynchronizedSweep) -> None:
        self.training.right_of_way.sweep_came(sweep.stamp_ns)
        self._sync.add_sweep(sweep)

    def _add_labels(self, labels: PointCloud2) -> None:
        self.training.right_of_way.labels_came(stamp_ns(labels.header))
        self._sync.add_labels(labels)

    # Parameters -------------------------------------------------------------------------------------------------------

    def _apply(self, config: Config, changed: set[str]) -> None:
        not_ours = sorted(changed & {"segmenter.weights", "segmenter.fusion"})
        if not_ours and self.parameters.fixed_by:
            raise ConfigError(f"{', '.join(not_ours)}: {self.parameters.fixed_by}")
        if "segmenter.diagnostics_period" in changed:
            self._status_timer.timer_period_ns = round(config.segmenter.diagnostics_period * 1e9)
        if self._stream is not None:
            self._stream.reconfigure(config)

    # Services ---------------------------------------------------------------------------------------------------------

    def _serve(self, name: str, kind: type, ask: Callable[[Any], Answer]) -> None:
        def callback(request: Any, response: Any) -> Any:
            response.success, response.message = ask(request)
            self.get_logger().info(f"{name}: {response.message}")
            return response

        self.create_service(kind, f"~/{name}", callback)

    def _roll_back(self) -> Answer:
        answer = self.training.rollback()
        self._poll_store()
        return answer

    # Timers -----------------------------------------------------------------------------------------------------------

    def _check_stream_end(self) -> None:
        """In mode ``observe``, a bag that ends is summed up, even if it is too short for a round."""
        progress = (self.statistics.frames_in, sum(self._intake.counts.values()), self.training.adapter is not None)
        before, since = self._progress
        now = time.monotonic()
        if progress != before:
            self._progress = (progress, now)
        elif progress[0] and progress != self._reported_progress and now - since > STREAM_END_S:
            self._reported_progress = progress
            self.get_logger().info(f"observe: no sweep for {STREAM_END_S:g} s, what came until now is summed up")
            self._log_account()
            if self.training.adapter is None:
                self.get_logger().info("the store is still being opened: play the bag again to use what came meanwhile")
            self.training.end_of_stream()

    @property
    def _waiting_for(self) -> list[str]:
        return ["its start"] if self._stream is None else self._stream.waiting_for

    def _poll_store(self) -> None:
        """Announces the weights in use when they have changed, whichever process changed them."""
        if self._pointer is None and not self.training.state_dir.store.exists:
            return  # the training thread reports what is wrong with it
        version = self._watcher.poll()
        if version is None:
            return
        try:
            before, self._pointer = self._pointer, self.training.state_dir.store.pointer()
        except StoreError:
            return
        self._weights.publish(String(data=str(version.path)))
        self.get_logger().info(f"{version.name} is in use: {self._pointer.reason}")
        # The gate, too, may put the source to use again; its reason begins with the round.
        went_back = before is not None and version.name in (before.source, *before.history)
        if went_back and not self._pointer.reason.startswith("round "):
            self._rollbacks += 1
            self.training.weights_rolled_back()

    def _publish_status(self) -> None:
        folder = str(self.training.state_dir.store.folder)
        statuses = [
            self._learning_status(self._rollbacks),
            observation_status(self._name, self.statistics, self._sync, self._intake, self._waiting_for),
            store_status(self._name, folder, self._pointer, self._watcher.problem),
        ]
        message = diagnostic_array(self.get_clock().now().to_msg(), statuses)
        for publisher in self._statuses:
            publisher.publish(message)

    def callback_failed(self, error: Exception) -> None:
        """Counts what a callback raised."""
        self.statistics.callback_failed(error)

    @property
    def _name(self) -> str:
        return self.get_fully_qualified_name().lstrip("/")


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Console entry point."""
    code = run_node(AdapterNode, AdapterNode.start, AdapterNode.close, AdapterNode.callback_failed, args)
    remove_unpacked()  # labelled bags of the source may be compressed
    exit_now(code)


if __name__ == "__main__":
    main()
