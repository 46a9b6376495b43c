"""The segmenter in use, and how it is exchanged between two frames."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import SamAdaptError, WeightsError

if TYPE_CHECKING:
    from sam_adapt_ros.segmentation import Segmenter

logger = logging.getLogger(__name__)


class Model:
    """Loads weights, and hands the inference thread the segmenter for its next frame.

    ``replace`` loads and warms up in a thread of its own. The exchange is one assignment in ``take``, which the
    inference thread calls before each frame.
    """

    def __init__(self, config: Config) -> None:
        """Raises WeightsError or TaxonomyError."""
        self.current = _load(config)
        self.swaps = 0
        self.problem = ""
        """Why the last replacement was refused; "" when it was not."""
        self._next: Segmenter | None = None
        self._lock = threading.Lock()
        self._request = 0

    def take(self) -> Segmenter:
        """The segmenter for the frame that comes now."""
        if self._next is not None:
            with self._lock:
                assert self._next is not None
                self.current, self._next = self._next, None
                self.swaps += 1
        return self.current

    def replace(
        self, config: Config, done: Callable[[str], None] | None = None, warm_up: bool = True
    ) -> threading.Thread:
        """Starts to load what ``config`` names. Of several requests the last one wins.

        done: called, in the loading thread, with "" or why it was refused.
        """
        self._request += 1
        thread = threading.Thread(
            target=self._replace, args=(config, self._request, done, warm_up), name="load-weights", daemon=True
        )
        thread.start()
        return thread

    def _replace(self, config: Config, request: int, done: Callable[[str], None] | None, warm_up: bool) -> None:
        start = time.perf_counter()
        try:
            segmenter = _load(config, warm_up)
            if segmenter.taxonomy.classes != self.current.taxonomy.classes:
                raise WeightsError(
                    f"{config.segmenter.weights}: classes {list(self.current.taxonomy.classes)} expected, "
                    f"the file has {list(segmenter.taxonomy.classes)}"
                )
        except (SamAdaptError, OSError, RuntimeError) as error:
            self.problem = str(error)
        else:
            self.problem = ""
            with self._lock:
                if request == self._request:
                    self._next = segmenter
            logger.info("weights %s ready after %.2f s", segmenter.version, time.perf_counter() - start)
        if done:
            done(self.problem)


def _load(config: Config, warm_up: bool = True) -> Segmenter:
    # torch takes seconds to import: by now the node is up, and signals are heard.
    from sam_adapt_ros.segmentation import load_segmenter

    segmenter, _ = load_segmenter(config)
    if warm_up:
        segmenter.warm_up()
    return segmenter
