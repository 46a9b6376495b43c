"""A node's process, without a node of ours."""

import subprocess
import sys


def test_a_signal_that_another_thread_gets_ends_the_node() -> None:
    """As the kernel does beside CUDA's threads: Python calls the handler once the main thread runs again."""
    code = """
import os, signal, threading, time
from rclpy.node import Node
from sam_adapt_ros.nodes.node_main import run_node

def interrupt():
    time.sleep(1.0)  # the main thread waits by now
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

code = run_node(
    lambda: Node("any"),
    lambda node: threading.Thread(target=interrupt, daemon=True).start(),
    lambda node: print("stopped", flush=True),
    lambda node, error: None,
    [],
)
os._exit(code)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60.0, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "stopped"), ran.stderr
