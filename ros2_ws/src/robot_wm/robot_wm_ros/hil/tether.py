"""Runs a command for as long as its own standard input stays open: `python -m robot_wm_ros.hil.tether COMMAND...`.

Whoever started it, here or over ssh, stops the command by closing the pipe. So does whatever ends that process or
the connection: a robot's agent never outlives the rig that started it, not even a rig that was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

PATIENCE_S = (6.0, 2.0, 2.0)  # after SIGINT, SIGTERM, SIGKILL


def main() -> int:
    """Exit code: the command's own, 128 + its signal, or 127 if it could not be started."""
    # Signals meant for the command's whole session reach it without us; we stay to see that it ends.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    try:
        process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"{sys.argv[1]}: {error.strerror}", file=sys.stderr)
        return 127
    threading.Thread(target=_stop_at_end_of_input, args=(process,), daemon=True).start()
    code = process.wait()
    return code if code >= 0 else 128 - code


def _stop_at_end_of_input(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        while os.read(sys.stdin.fileno(), 4096):
            pass
    for number, patience_s in zip((signal.SIGINT, signal.SIGTERM, signal.SIGKILL), PATIENCE_S, strict=True):
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            return


if __name__ == "__main__":
    sys.exit(main())
