"""The adapter node: looks at the sensors and at the labels that were predicted, learns, and says how it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from sam_adapt_ros.adaptation import StoreWatcher
from sam_adapt_ros.adaptation.round_summary import findings
from sam_adapt_ros.adaptation.weight_store.pointer import Pointer
from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import ConfigError, StoreError
from sam_adapt_ros.messages import stamp_ns
from sam_adapt_ros.nodes.adapter.frame_intake import Observer
from sam_adapt_ros.nodes.adapter.request_queue import Answer
from sam_adapt_ros.nodes.adapter.resource_limits import be_modest
from sam_adapt_ros.nodes.adapter.training_thread import Learner
from sam_adapt_ros.nodes.diagnostics import segmenter_status as diagnostics
from sam_adapt_ros.nodes.diagnostics.adapter_status import (
    LearningStatus,
    account_of_frames,
    observation_status,
    store_status,
)
from sam_adapt_ros.nodes.diagnostics.stream_statistics import Statistics
from sam_adapt_ros.nodes.input.frame_stream import FrameStream
from sam_adapt_ros.nodes.input.subscriptions import TopicFilter
from sam_adapt_ros.nodes.node_main import leave, run_node
from sam_adapt_ros.nodes.parameters import Parameters
from sam_adapt_ros.nodes.throttled_logger import Complaints

FOLLOW_PERIOD_S = 0.1
FIRST_REMINDER_S, LONGEST_REMINDER_S = 5.0, 300.0
RUN_DRY_S = 3.0
"""Without a sweep, after which no more are expected for now."""
LABELS = "segmentation/labels"
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class AdapterNode(Node):
    """Listens and learns from ``start`` to ``close``.

    Raises ConfigError when the parameters do not fit the schema or name no store.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("adapter", automatically_declare_parameters_from_overrides=True, **kwargs)
        self.parameters = Parameters(self)
        self.parameters.apply = self._apply
        config = self.config
        store = config.adaptation.store
        if not store.folder:
            raise ConfigError("adaptation.store.folder: the folder of the weight store expected, got nothing")
        self.statistics = Statistics()
        self.learner = Learner(config)
        self._observer = Observer(self.learner, Complaints(self))
        self._complain = Complaints(self)
        self._stream: FrameStream | None = None
        self._labels = TopicFilter(self, self.resolve_topic_name(LABELS), [PointCloud2], self._on_labels_error)
        self._labels.registerCallback(lambda msg: self._observer.pairing.add_labels(stamp_ns(msg.header), msg))
        self._watcher = StoreWatcher(store.folder)
        self._pointer: Pointer | None = None
        self._rollbacks = 0
        self._waited: tuple[str, float, float] = ("", 0.0, 0.0)  # what for, said when, and for how long not again
        self._progress: tuple[tuple[int, int, bool], float] = ((0, 0, False), 0.0)
        self._accounted = self._progress[0]
        self._weights = self.create_publisher(String, "adaptation/weights", LATCHED)
        self._statuses = [
            self.create_publisher(DiagnosticArray, topic, 10) for topic in ("adaptation/status", "/diagnostics")
        ]
        self._learning_status = LearningStatus(self._name, self.learner, config.adaptation)
        # On the steady clock: all of it goes on while simulated time stands still or jumps.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._status_timer = self.create_timer(config.segmenter.diagnostics_period, self._publish_status, clock=steady)
        self.create_timer(FOLLOW_PERIOD_S, self._follow, clock=steady)
        self.create_timer(store.poll_period, self._poll_store, clock=steady)
        self._serve("trigger", Trigger, lambda request: self.learner.trigger())
        self._serve("pause", SetBool, lambda request: self.learner.pause(request.data))
        self._serve("reset", Trigger, lambda request: self.learner.reset())
        self._serve("rollback", Trigger, lambda request: self._roll_back())
        self._serve("save", Trigger, lambda request: self.learner.save())

    @property
    def config(self) -> Config:
        return self.parameters.config

    def start(self) -> None:
        """Takes its place behind the others, opens the store and the stream.

        Raises CalibrationError when the calibration file does not fit.
        """
        be_modest(self.config.adaptation.resources)
        self._stream = FrameStream(self, self.config, self._observer.add_frame, self.statistics)
        self.parameters.fixed_by = "can only be set before the adapter starts"
        self._poll_store()
        self.learner.start()

    def close(self) -> None:
        """Ends cleanly; a round that is under way is gone on with by the next process."""
        self._sum_up()  # first: who starts us may lose patience
        stopped = self.learner.close()
        if self._stream is not None:
            self._stream.close()
        self._labels.close()
        self._observer.close()
        self._publish_status()
        counts = self.learner.counts
        self.get_logger().info(
            f"ended: {self._observer.counts['kept']} frames kept, {counts['promotions']} promotions, "
            f"{counts['rejections']} rejections{'' if stopped else '; the step at hand was cut off'}"
        )

    def _sum_up(self) -> None:
        self._give_account()
        if self.learner.observing and self.learner.decision is not None:
            for line in findings(self.learner.decision.facts):
                self.get_logger().info(f"observe: {line}")
        if self.learner.in_round:
            self.get_logger().info("a round is under way: the next start with this store goes on with it")

    def _give_account(self) -> None:
        for line in account_of_frames(self.statistics, self._observer, self.learner):
            self.get_logger().info(line)

    # Parameters -------------------------------------------------------------------------------------------------------

    def _apply(self, config: Config, changed: set[str]) -> None:
        foreign = sorted(changed & {"segmenter.weights", "segmenter.fusion"})
        if foreign and self.parameters.fixed_by:
            raise ConfigError(f"{', '.join(foreign)}: {self.parameters.fixed_by}")
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
        answer = self.learner.rollback()
        self._poll_store()
        return answer

    # Timers -----------------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        if self._stream is None:
            return
        self._stream.follow()
        self._labels.follow()
        waiting = "; ".join(self._waiting_for)
        said, when, period = self._waited
        now = time.monotonic()
        if waiting != said or (waiting and now - when > period):
            again = min(2 * period, LONGEST_REMINDER_S) if waiting == said else FIRST_REMINDER_S
            self._waited = (waiting, now, again)
            self.get_logger().info(f"waiting for {waiting}" if waiting else "all inputs have come")
        if self.learner.observing:
            self._look_for_the_end(now)

    def _look_for_the_end(self, now: float) -> None:
        """A bag that was played is not to end in silence, be it too short for a round."""
        progress = (
            self.statistics.frames_in,
            sum(self._observer.counts.values()),
            self.learner.adapter is not None,
        )
        before, since = self._progress
        if progress != before:
            self._progress = (progress, now)
        elif progress[0] and progress != self._accounted and now - since > RUN_DRY_S:
            self._accounted = progress
            self.get_logger().info(f"observe: no sweep for {RUN_DRY_S:g} s")
            self._give_account()
            if not progress[2]:
                self.get_logger().info("the store is still being opened: what came meanwhile has to be played again")
            self.learner.run_dry()

    @property
    def _waiting_for(self) -> list[str]:
        if self._stream is None:
            return ["its start"]
        return [*self._stream.waiting_for, *filter(None, [self._labels.waiting_for])]

    def _poll_store(self) -> None:
        """Announces the weights in use when they are others than before, whoever has put them to use."""
        if self._pointer is None and not self.learner.workplace.store.exists:
            return  # the learner says what is the matter with it
        version = self._watcher.poll()
        if version is None:
            return
        try:
            before, self._pointer = self._pointer, self.learner.workplace.store.pointer()
        except StoreError:
            return
        self._weights.publish(String(data=str(version.path)))
        self.get_logger().info(f"{version.name} is in use: {self._pointer.reason}")
        # The gate, too, may put the source back to use; it says so.
        gone_back = before is not None and version.name in (before.source, *before.history)
        if gone_back and not self._pointer.reason.startswith("round "):
            self._rollbacks += 1
            self.learner.weights_taken_back()

    def _publish_status(self) -> None:
        statuses = [
            self._learning_status(self._rollbacks),
            observation_status(self._name, self.statistics, self._observer, self._waiting_for),
            store_status(self._name, str(self.learner.workplace.store.folder), self._pointer, self._watcher.problem),
        ]
        message = diagnostics.diagnostic_array(self.get_clock().now().to_msg(), statuses)
        for publisher in self._statuses:
            publisher.publish(message)

    @property
    def _name(self) -> str:
        return self.get_fully_qualified_name().lstrip("/")

    # What goes wrong --------------------------------------------------------------------------------------------------

    def _on_labels_error(self, topic: str, error: Exception) -> None:
        self._complain(f"{topic}: message not used", f": {type(error).__name__}: {error}")


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Console entry point."""
    leave(run_node(AdapterNode, AdapterNode.start, AdapterNode.close, args))


if __name__ == "__main__":
    main()
