"""Time of the bundled model's point branch by either backend of its sparse convolutions, on real scans."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from sam_adapt_ros.benchmarks import Figure, real_data
from sam_adapt_ros.benchmarks.segmentation import synthetic_frame
from sam_adapt_ros.config import find_weights
from sam_adapt_ros.frame import Frame
from sam_adapt_ros.segmentation import weights
from sam_adapt_ros.segmentation.batch import Batch, Sample, collate
from sam_adapt_ros.segmentation.network import Network
from sam_adapt_ros.segmentation.sparse_backend import choose_backend, find_spconv_problem
from sam_adapt_ros.segmentation.sparse_convolution import Backend

CPU = torch.device("cpu")


def run(quick: bool = False) -> list[Figure]:
    """Forward in evaluation mode, and forward and backward in training mode. One thread: its CPU time; two threads, not
    when quick: elapsed time."""
    path = find_weights("town_small")
    network = weights.build_network(weights.load(path), str(path))
    assert isinstance(network, Network)
    names = ("torch",) if find_spconv_problem("cpu") else ("torch", "spconv")
    backends = {name: choose_backend(name, CPU) for name in names}
    figures: list[Figure] = []
    threads_before = torch.get_num_threads()
    for scan, frame in _scans():
        batch = collate([Sample.from_frame(frame, network.architecture)], network.architecture)
        for threads in (1,) if quick else (1, 2):
            torch.set_num_threads(threads)
            for work, call in (("labels", _label), ("trains", _train)):
                calls = {name: partial(call, network, batch, backend) for name, backend in backends.items()}
                with threadpool_limits(threads):
                    times = alternate(
                        calls, 3 if quick else 15, time.thread_time if threads == 1 else time.perf_counter
                    )
                note = f"{len(frame.points)} points, {len(batch.voxels)} voxels"
                figures += [
                    Figure(f"point branch {work} {scan}, {threads} threads, {name}", 1e3 * seconds, "ms", note=note)
                    for name, seconds in times.items()
                ]
    torch.set_num_threads(threads_before)
    return figures


def alternate(
    calls: Mapping[str, Callable[[], object]], repetitions: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Median seconds of each call. They take turns, so that what else the machine does slows all of them down alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repetitions):
        for name, call in calls.items():
            start = clock()
            call()
            times[name].append(clock() - start)
    return {name: statistics.median(each) for name, each in times.items()}


@torch.inference_mode()
def _label(network: Network, batch: Batch, backend: Backend) -> None:
    network.eval().points.backend = backend
    network.points(batch.voxels, batch.features, batch.voxel_of_point, batch.frames)


def _train(network: Network, batch: Batch, backend: Backend) -> None:
    network.train().zero_grad()
    network.points.backend = backend
    output = network.points(batch.voxels, batch.features, batch.voxel_of_point, batch.frames)
    output.logits.square().mean().backward()


def _scans() -> Iterator[tuple[str, Frame]]:
    folder = real_data()
    if folder is None:
        yield "synthetic", synthetic_frame()
        return
    patterns = {
        "nuScenes": ("nuscenes_keyframe/samples/LIDAR_TOP/*", 5),
        "KITTI": ("kitti_raw/*/*_sync/velodyne_points/data/0000000000.bin", 4),
    }
    for name, (pattern, fields) in patterns.items():
        (file,) = folder.glob(pattern)
        points = np.fromfile(file, np.float32).reshape(-1, fields)[:, :3]
        yield name, Frame(0, "lidar", np.ascontiguousarray(points))
