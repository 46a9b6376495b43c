"""Learning stands still while a sweep is being labelled."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

LONGEST_S = 0.5
"""A sweep that has no labels after so long was dropped, or nothing labels."""


class RightOfWay:
    """Gives way to the segmenter, which is at work from a sweep's coming to its labels'.

    Priorities decide only who gets a core. Also on a core of its own learning slows the segmenter down, by the memory
    and the caches that both use. At least half of the time of a round is learning's, however busy the segmenter is.
    ``sweep_came`` and ``labels_came`` may be called from any thread.
    """

    def __init__(self) -> None:
        self._free = threading.Event()
        self._free.set()
        self._sweep: int | None = None
        self._labels: int | None = None
        self._until = self._began = self._waited = 0.0

    def sweep_came(self, stamp_ns: int) -> None:
        if stamp_ns != self._labels:  # labels may come first
            self._sweep, self._until = stamp_ns, time.monotonic() + LONGEST_S
            self._free.clear()

    def labels_came(self, stamp_ns: int) -> None:
        self._labels = stamp_ns
        if stamp_ns == self._sweep:
            self._free.set()

    def give_way(self) -> None:
        """Waits while a sweep is being labelled."""
        if self._free.is_set():
            return
        now = time.monotonic()
        left = min(self._until - now, now - self._began - 2 * self._waited)
        if left > 0:
            self._free.wait(left)
            self._waited += time.monotonic() - now

    @contextmanager
    def between_layers(self) -> Iterator[None]:
        """In it, all networks of this process give way before each layer, on the way forward and backward."""
        from torch import Tensor
        from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

        def before(module: nn.Module, inputs: Any) -> None:
            self.give_way()

        def after(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.requires_grad:
                output.register_hook(lambda gradient: self.give_way())

        self._began, self._waited = time.monotonic(), 0.0
        hooks = register_module_forward_pre_hook(before), register_module_forward_hook(after)
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
