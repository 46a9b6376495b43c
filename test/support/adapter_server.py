"""Starts adapter processes in a moment: everything is imported once, and each is forked off.

Reads lines ``start <log> <argument> ...``, ``poll <pid>`` and ``wait <pid>`` (separated by tabs); answers with a pid,
or with the exit code, negative for a signal, ``running`` while there is none.
"""

import os
import sys

import torch

import sam_adapt_ros.adaptation.adapter  # noqa: F401
from sam_adapt_ros.nodes import adapter_node as adapter

torch.set_num_threads(1)


def start(log: str, *arguments: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    adapter.main(list(arguments))


def ended(pid: str, options: int = 0) -> str:
    found, code = os.waitpid(int(pid), options)
    return str(os.waitstatus_to_exitcode(code)) if found else "running"


print("ready", flush=True)
for line in sys.stdin:
    verb, *words = line.rstrip("\n").split("\t")
    if verb == "start":
        print(start(*words), flush=True)
    else:
        print(ended(words[0], os.WNOHANG if verb == "poll" else 0), flush=True)
