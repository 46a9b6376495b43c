"""``message_filters`` where it is installed, else the two of its classes that we build on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rclpy.node import Node

try:
    from message_filters import SimpleFilter, Subscriber
except ImportError:

    class SimpleFilter:  # type: ignore[no-redef]
        """Passes what comes out of it to the callbacks registered with it."""

        def __init__(self) -> None:
            self.callbacks: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = {}

        def registerCallback(self, cb: Callable[..., None], *args: Any) -> int:
            """``cb`` will be called with each output, followed by ``args``."""
            connection = len(self.callbacks)
            self.callbacks[connection] = (cb, args)
            return connection

        def signalMessage(self, *msg: Any) -> None:
            for cb, args in self.callbacks.values():
                cb(*(msg + args))

    class Subscriber(SimpleFilter):  # type: ignore[no-redef]
        """A subscription as a filter; takes the arguments of ``Node.create_subscription``, without the callback."""

        def __init__(self, node: Node, message_type: type, topic: str, **kwargs: Any) -> None:
            super().__init__()
            self.node, self.topic = node, topic
            kwargs.setdefault("qos_profile", 10)
            self.sub = node.create_subscription(message_type, topic, self.signalMessage, **kwargs)


__all__ = ["SimpleFilter", "Subscriber"]
