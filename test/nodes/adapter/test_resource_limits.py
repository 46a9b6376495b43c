"""The adapter's process leaves the processor to others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest


def run(code: str, leader: bool = False) -> Any:
    """What the code prints, as JSON, in a process of its own.

    leader: of its session, which then as a whole is given less; not for long code, where others are at work.
    """
    environment = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, start_new_session=leader, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_the_process_and_all_of_its_threads_get_a_lower_priority() -> None:
    """One that was started before included."""
    seen = run(
        """
import json, os, threading
from pathlib import Path
import cv2, torch, sam_adapt_ros.segmentation.segmenter  # while it is fast
from sam_adapt_ros.config import ResourceConfig
from sam_adapt_ros.nodes.adapter.resource_limits import limit_process_resources, limit_training_thread
stop, seen = threading.Event(), {}
thread = threading.Thread(target=stop.wait); thread.start()
resources = ResourceConfig(threads=1, nice=7)
limit_process_resources(resources)
limit_process_resources(ResourceConfig(threads=1, nice=3))  # never back
limit_training_thread(resources, "cpu")
later = threading.Thread(target=lambda: seen.update(later=os.getpriority(os.PRIO_PROCESS, 0)))
later.start()
later.join()
tasks = [int(t.name) for t in Path("/proc/self/task").iterdir()]
seen["all"] = [os.getpriority(os.PRIO_PROCESS, task) for task in tasks]
seen["policies"] = [os.sched_getscheduler(task) for task in tasks]
seen["threads"] = [torch.get_num_threads(), cv2.getNumThreads(), os.environ["OMP_NUM_THREADS"]]
group = Path("/proc/self/autogroup")
seen["group"] = group.read_text() if group.exists() else ""
stop.set()
print(json.dumps(seen))
""",
        leader=True,
    )
    assert seen["all"]
    assert set(seen["all"]) == {7}
    assert set(seen["policies"]) == {os.SCHED_OTHER}, "SCHED_IDLE at the lowest nice level alone"
    assert seen["later"] == 7
    assert seen["threads"] == [1, 1, "1"]
    if seen["group"]:
        assert seen["group"].split()[-2:] == ["nice", "7"]


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux only")
def test_at_the_lowest_nice_level_training_runs_on_idle_time_and_receiving_does_not() -> None:
    seen = run(
        """
import json, os, threading
import torch, sam_adapt_ros.segmentation.segmenter  # while it is fast
from sam_adapt_ros.config import ResourceConfig
from sam_adapt_ros.nodes.adapter.resource_limits import limit_process_resources, limit_training_thread
resources, seen = ResourceConfig(), {}
limit_process_resources(resources)
def look(name):
    seen[name] = [os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)]
def train():
    limit_training_thread(resources, "cpu")
    look("trains")
    helper = threading.Thread(target=look, args=["helps"]); helper.start(); helper.join()
training = threading.Thread(target=train); training.start(); training.join()
look("receives")
print(json.dumps(seen), flush=True)
os._exit(0)
"""
    )
    assert seen == {
        "trains": [os.SCHED_IDLE, 19],
        "helps": [os.SCHED_IDLE, 19],
        "receives": [os.SCHED_OTHER, 19],
    }


def test_libraries_that_are_loaded_already_get_no_more_threads_either() -> None:
    """Several threads, where the environment sets none: fewer only because the libraries are told so."""
    seen = run(
        """
import json, threading
import numpy, cv2, torch, scipy.linalg
from threadpoolctl import threadpool_info, threadpool_limits
from sam_adapt_ros.config import ResourceConfig
from sam_adapt_ros.nodes.adapter.resource_limits import limit_process_resources, limit_training_thread
def look():
    return {pool["filepath"]: [pool["user_api"], pool["num_threads"]] for pool in threadpool_info()}
seen = []
def train():
    threadpool_limits(3)
    seen.append(look())
    limit_process_resources(ResourceConfig(threads=1, nice=0))
    limit_training_thread(ResourceConfig(threads=1, nice=0), "cpu")
    seen.append(look())
training = threading.Thread(target=train); training.start(); training.join()
seen.append(look())
print(json.dumps(seen))
"""
    )
    before, after, elsewhere = seen
    assert {api for api, _ in before.values()} == {"blas", "openmp"}
    assert {threads for api, threads in before.values() if api == "openmp"} == {3}
    if (os.cpu_count() or 1) > 1:  # OpenBLAS may have no more threads than there are cores
        assert all(threads > 1 for api, threads in before.values() if api == "blas"), before
    assert {threads for _, threads in after.values()} == {1}
    assert {threads for api, threads in elsewhere.values() if api == "blas"} == {1}


def test_the_adapter_is_imported_without_torch() -> None:
    """Torch is loaded once the process has a low priority, and no sooner."""
    assert run("import json, sys, sam_adapt_ros.nodes.adapter_node; print(json.dumps('torch' in sys.modules))") is False
