"""A node in a process of its own, with its output as it comes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

# rclpy's console line: severity, system time in s, logger, text.
_LINE = re.compile(r"\[(?P<severity>[A-Z]+)\] \[(?P<time_s>\d+\.\d+)\] \[(?P<logger>[^]]+)\]: (?P<text>.*)")


class NodeProcess:
    """A node in a process group of its own, with its output as it comes."""

    def __init__(self, arguments: list[str]) -> None:
        """Start ``arguments``; see ``module`` for a node's."""
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,  # a terminal's would change what `ros2 launch` does on Ctrl-C
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def module(cls, module: str, *arguments: str, **parameters: object) -> NodeProcess:
        """Run a Python module as a node, with ROS parameters."""
        ros = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
        return cls([sys.executable, "-m", module, *arguments, *(["--ros-args", *ros] if ros else [])])

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip())

    @property
    def pid(self) -> int:
        """The process's id, which is its group's, too."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def wait_for(self, text: str, timeout_s: float = 30.0) -> str:
        """The first line with ``text``; AssertionError with the whole output if none comes."""
        end = time.monotonic() + timeout_s
        seen = 0
        while time.monotonic() < end:
            while seen < len(self.lines):
                if text in self.lines[seen]:
                    return self.lines[seen]
                seen += 1
            if self.returncode is not None and not self._reader.is_alive() and seen == len(self.lines):
                break
            time.sleep(0.01)
        raise AssertionError(f"no {text!r} in the output of {self._process.args}:\n" + "\n".join(self.lines))

    def signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 15.0) -> int:
        """Wait for its end; returns the exit code."""
        return self._process.wait(timeout_s)

    def close(self) -> None:
        """End the whole group, whatever it does."""
        for number, patience_s in ((signal.SIGINT, 5.0), (signal.SIGKILL, 5.0)):
            if self._process.poll() is not None:
                break
            os.killpg(self.pid, number)
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
        self._reader.join(5.0)

    def events(self) -> Iterator[tuple[float, str]]:
        """System time in s and text of each line that the node has logged."""
        for line in list(self.lines):
            if match := _LINE.search(line):
                yield float(match["time_s"]), match["text"]
