"""A bag through the segmenter, in process, as fast as it goes: what the nodes do, without DDS, and deterministic."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from sam_adapt_ros.config import Config
from sam_adapt_ros.errors import NetworkError
from sam_adapt_ros.evaluation.run_summary import RunSummary
from sam_adapt_ros.pipelines.bag_frames import cancelled_by_interrupt, write_labels
from sam_adapt_ros.pipelines.bag_stream import BagStream, LabelBags, as_list, unique_names
from sam_adapt_ros.progress import Stages, no_stages
from sam_adapt_ros.segmentation import load_segmenter
from sam_adapt_ros.visualization.run_report import ReportFrame, prepare_report, write_run_report

LABELS = "/segmentation/labels"


def replay(
    bags: Path | Sequence[Path], config: Config, output: Path, *, force: bool = False, stages: Stages = no_stages
) -> RunSummary:
    """Labels every frame of a bag, or of several, one after the other; leaves ``labels`` (a bag, or a folder with one
    for each), ``summary.json``, pictures and ``report.html``.

    Interrupted (SIGINT), it ends after the present frame and writes the same files for the frames labelled so far.
    Raises OutputError before the work begins, BagError, WeightsError or CalibrationError.
    """
    prepare_report(output, force=force)
    labels = LabelBags(output / "labels", unique_names(as_list(bags)), force=force)
    segmenter, config = load_segmenter(config)
    segmenter.warm_up()
    taxonomy = segmenter.taxonomy
    stream, shown = BagStream(bags, config, taxonomy), list[ReportFrame]()
    start = time.perf_counter()
    with (
        labels as written,
        cancelled_by_interrupt() as token,
        stages("labelling") as progress,
    ):
        for frame, waited, pictured, part, bag in stream.frames(progress, token):
            predicting = time.perf_counter()
            try:
                prediction = segmenter(frame)
            except NetworkError as error:
                part.add_failure(error, frame.stamp_ns)
                continue
            # The stage "model" is the whole segmenter here; its own timing of that name is the network's alone.
            latencies = {"wait_for_input": waited, **prediction.timings, "model": time.perf_counter() - predicting}
            part.add_latencies(latencies)
            with part.timed("write"):
                writer = written.writer(bag)
                write_labels(writer, LABELS, frame, prediction.labels, prediction.probability, taxonomy)
                part.add(prediction.by_branch(), frame.ground_truth)
            prediction.report(part.notices)
            if pictured:
                shown.append(ReportFrame(frame, prediction.labels))
    summary = stream.summary()
    summary.seconds = time.perf_counter() - start
    summary.notices.update(segmenter.notices)
    summary.facts |= {
        "mode": "replay",
        "interrupted": token.cancelled,
        "weights": segmenter.version,
        "network": segmenter.network.architecture.network,
        "device": str(segmenter.device),
        "fusion": config.segmenter.fusion,
    }
    with stages("drawing the report"):
        write_run_report(summary, shown, output, title=f"Replay of {stream.title}")
    return summary
