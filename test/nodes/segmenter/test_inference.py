from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from node_support import make_config, make_statistics, make_sweep
from weights_support import FRAME

from sam_adapt_ros.nodes.segmenter.hot_swap import SegmenterSlot
from sam_adapt_ros.nodes.segmenter.inference import InferenceCallback


def test_a_frame_that_the_monitor_fails_on_is_labelled_all_the_same(source: Path) -> None:
    slot, statistics = SegmenterSlot(make_config(source, Path(), ())), make_statistics()

    def fail(prediction: object) -> None:
        raise ZeroDivisionError

    publishers = SimpleNamespace(publish_labels=lambda *_: None, publish_on_demand=lambda *_: None)
    decoder = SimpleNamespace(decode=lambda sweep: FRAME)
    InferenceCallback(decoder, slot, publishers, statistics, fail)(make_sweep())  # type: ignore[arg-type]
    assert statistics.frames_labelled == 1
    slot.close()
