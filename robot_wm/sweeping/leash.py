"""Become `robot-wm` with these arguments, and be told to stop when the sweep that started it dies.

As ``python -m robot_wm.sweeping.leash PARENT ARGUMENTS…``. A sweep that is killed tells nobody; the kernel does, and a
run that is told to stop saves first. Elsewhere than on Linux the run goes on, and the resumed sweep waits for it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Replace this process; the kernel's promise outlives that."""
    parent, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):  # it died before it could be promised
        sys.exit(0)
    os.execv(sys.executable, [sys.executable, "-m", "robot_wm", *arguments])


if __name__ == "__main__":
    main()
