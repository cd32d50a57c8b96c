"""Freed memory stays with the process: counted in page faults, not in time."""

import ctypes
import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from robot_wm.learning.host_memory import keep_freed_memory

torch.set_num_threads(1)
if sys.argv[1] == "kept":
    assert keep_freed_memory()

def update():
    tensors = [torch.ones(2**20) for _ in range(24)]  # 4 MiB each, 1024 pages

for _ in range(3):
    update()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
update()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
glibc = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc"
)


def faults(how):
    # glibc's threshold as it starts: left alone it rises in the course of a process, more or less.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    run = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(run, check=True, capture_output=True, text=True, env=environment).stdout)


@glibc
def test_pages_of_the_last_update_are_not_faulted_in_again():
    assert faults("given back") > 10_000  # what the test would see of a call without effect
    assert faults("kept") < 1_000
