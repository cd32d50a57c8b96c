"""Processes that the rig starts, here or on a robot's computer: their output, their end, and why they failed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType

from robot_wm.errors import UserError
from robot_wm_ros.hil.tether import PATIENCE_S

TETHER = "robot_wm_ros.hil.tether"
_LOG_PREFIX = re.compile(r"^\[(?P<level>[A-Z]+)\s*\] \[[\d.]+\] \[[^\]]*\]: ")
_KEPT_LINES = 200


def node_command(python: str, module: str, parameters: Mapping[str, object]) -> list[str]:
    """Arguments that run a node's module with these parameters; an empty list is left to the node's default."""
    arguments = [python, "-m", module, "--ros-args"]
    for name, value in parameters.items():
        if value != []:  # ROS 2 cannot tell what an empty list is a list of
            arguments += ["-p", f"{name}:={json.dumps(value)}"]  # JSON is YAML that quotes its strings
    return arguments


def tethered(command: Sequence[str], *, python: str = sys.executable) -> list[str]:
    """The command, ending with its standard input."""
    return [python, "-m", TETHER, *command]


def over_ssh(host: str, command: Sequence[str], environment: Mapping[str, str], *, python: str) -> list[str]:
    """The tethered command on another computer. ssh joins arguments into one shell line there: each is quoted."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    remote = ["env", *variables, *tethered(command, python=python)]
    return ["ssh", "-o", "BatchMode=yes", host, "--", *(shlex.quote(argument) for argument in remote)]


class Child:
    """One process in a session of its own; leaving the ``with`` block ends it."""

    def __init__(self, name: str, command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> None:
        """Start it; ``name`` is what errors call it. Raises UserError if there is no such program."""
        self.name = name
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)  # the last of its output
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C is ours: we end it in order
                env=os.environ | (environment or {}) | {"PYTHONUNBUFFERED": "1"},
            )
        except OSError as error:
            raise UserError(f"{name}: cannot start {command[0]}: {error.strerror}") from None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip())

    @property
    def pid(self) -> int:
        """Of the session that holds the node and its tether."""
        return self._process.pid

    def require_running(self) -> None:
        """Raises UserError with the end of its log if it has ended by itself."""
        code = self._process.poll()
        if code is not None:
            self._reader.join(1.0)
            raise UserError(f"{self.name} ended with code {code}: {self.cause()}")

    def cause(self) -> str:
        """Why it failed, in one line: its last error, else its last line."""
        lines = [line for line in self.lines if line.strip()]
        errors = [line for line in lines if (found := _LOG_PREFIX.match(line)) and found["level"] in ("ERROR", "FATAL")]
        return _LOG_PREFIX.sub("", (errors or lines or ["it said nothing"])[-1]).strip()

    def close(self) -> None:
        """End it in order: its input ends, which the tether makes a SIGINT; killed if that does not help."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(sum(PATIENCE_S) + 1.0)
        except subprocess.TimeoutExpired:
            pass
        finally:  # an impatient second Ctrl-C ends here, too
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(1.0)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
