"""Memory that an update on a CPU frees is kept for the next one."""

from __future__ import annotations

import ctypes
import sys

# Parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_KEPT_BYTES = 2**31 - 1  # the most that mallopt's int takes: free memory at the heap's end that is not given back
_HEAP_BYTES = 2**25  # the most that glibc allows: what is smaller comes from the heap, not from a mapping of its own


def keep_freed_memory() -> bool:
    """Let this process keep up to 2 GiB of what it frees; False where the C library is not glibc.

    An update makes and drops the same hundreds of tensors each time. glibc hands large ones back to the kernel, and
    every page of the next one is then faulted in and zeroed: a tenth of an update's time. Nothing changes for memory
    that stays in use, and the peak is the same.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _HEAP_BYTES) and mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))
