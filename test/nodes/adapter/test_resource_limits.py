"""The adapter's process takes its place behind others."""

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


def test_the_process_takes_its_place_behind_others() -> None:
    """With a thread from before."""
    seen = run(
        """
import json, os, threading
from pathlib import Path
import cv2, torch, sam_adapt_ros.segmentation.segmenter  # while it is fast
from sam_adapt_ros.config import ResourceConfig
from sam_adapt_ros.nodes.adapter.resource_limits import be_modest, learn_modestly
stop, seen = threading.Event(), {}
thread = threading.Thread(target=stop.wait); thread.start()
resources = ResourceConfig(threads=1, nice=7)
be_modest(resources)
be_modest(ResourceConfig(threads=1, nice=3))  # never back
learn_modestly(resources, "cpu")
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
    assert set(seen["policies"]) == {os.SCHED_OTHER}, "only who is to be last of all learns when all others are idle"
    assert seen["later"] == 7
    assert seen["threads"] == [1, 1, "1"]
    if seen["group"]:
        assert seen["group"].split()[-2:] == ["nice", "7"]


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux only")
def test_at_the_last_nice_level_what_learns_runs_when_others_are_idle_and_what_receives_does_not() -> None:
    seen = run(
        """
import json, os, threading
import torch, sam_adapt_ros.segmentation.segmenter  # while it is fast
from sam_adapt_ros.config import ResourceConfig
from sam_adapt_ros.nodes.adapter.resource_limits import be_modest, learn_modestly
resources, seen = ResourceConfig(), {}
be_modest(resources)
def look(name):
    seen[name] = [os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)]
def learn():
    learn_modestly(resources, "cpu")
    look("learns")
    helper = threading.Thread(target=look, args=["helps"]); helper.start(); helper.join()
learner = threading.Thread(target=learn); learner.start(); learner.join()
look("receives")
print(json.dumps(seen), flush=True)
os._exit(0)
"""
    )
    assert seen == {
        "learns": [os.SCHED_IDLE, 19],
        "helps": [os.SCHED_IDLE, 19],
        "receives": [os.SCHED_OTHER, 19],
    }


def test_libraries_that_are_loaded_already_get_no_more_threads_either() -> None:
    """Several, where the environment says nothing: fewer only because they are told so."""
    seen = run(
        """
import ctypes, json, re, threading
from pathlib import Path
import numpy, cv2, torch, spconv.pytorch, scipy.linalg
from sam_adapt_ros.config import ResourceConfig
from sam_adapt_ros.nodes.adapter.resource_limits import be_modest, learn_modestly
from sam_adapt_ros.nodes.adapter.native_pools import limit_blas, limit_openmp
def look():
    found = {}
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line}
    for path in sorted(path for path in mapped if re.search(r"openblas|lib[gi]?omp", path.rpartition("/")[2])):
        library = ctypes.CDLL(path)
        for function in ("omp_get_max_threads", "openblas_get_num_threads", "openblas_get_num_threads64_",
                         "scipy_openblas_get_num_threads", "scipy_openblas_get_num_threads64_"):
            if hasattr(library, function):
                found[path] = getattr(library, function)()
    return found
seen = []
def learn():
    limit_blas(3)
    limit_openmp(3)
    seen.append(look())
    be_modest(ResourceConfig(threads=1, nice=0))
    learn_modestly(ResourceConfig(threads=1, nice=0), "cpu")
    seen.append(look())
learner = threading.Thread(target=learn); learner.start(); learner.join()
seen.append(look())
print(json.dumps(seen))
"""
    )
    before, after, elsewhere = seen
    assert before
    assert any("openblas" in path for path in before)
    assert any("omp" in path for path in before)
    openblas = {path for path in before if "openblas" in path}
    assert {before[path] for path in before if path not in openblas} == {3}
    if (os.cpu_count() or 1) > 1:  # OpenBLAS may have no more threads than there are cores
        assert all(before[path] > 1 for path in openblas), before
    assert set(after.values()) == {1}
    assert {elsewhere[path] for path in openblas} == {1}


def test_the_adapter_is_imported_without_torch() -> None:
    """Which is loaded once the process has taken its place, and no sooner."""
    assert run("import json, sys, sam_adapt_ros.nodes.adapter_node; print(json.dumps('torch' in sys.modules))") is False
