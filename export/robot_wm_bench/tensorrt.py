"""TensorRT's part of `robot-wm bench tick` and `bench search`, in a process and, if need be, an interpreter of its own.

Graph and inputs are handed over as files and come back as JSON: the interpreter that has TensorRT needs NumPy, pydantic
and CUDA's bindings beside it, neither torch nor this library installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import robot_wm
from robot_wm.errors import UserError

_MODULE = "robot_wm.runtime.trt.bench"
# The interpreter may be a script that sets its own module path: ours is added inside.
_START = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    f"runpy.run_module({_MODULE!r}, run_name='__main__', alter_sys=True)"
)


def tensorrt_rows(
    graph: Path,
    inputs: Mapping[str, Path],
    *,
    precision: str,
    ticks: int,
    matrices: int | None = None,
    python: Path | None = None,
) -> list[dict[str, Any]]:
    """Rows of ``graph`` in TensorRT, with and without a CUDA graph.

    ``inputs``: the files of a tick, ``manifest`` and ``recording``, or those of any other graph, ``frames``.
    ``python``: the interpreter that has TensorRT; None: this one. Raises UserError with the last line of what the
    process complained about.
    """
    library = Path(robot_wm.__file__).parents[1]
    command = [
        *(str(python or sys.executable), "-c", _START, str(library)),
        *("--graph", str(graph)),
        *(word for name, path in inputs.items() for word in (f"--{name}", str(path))),
        *("--precision", precision, "--ticks", str(ticks)),
        *(() if matrices is None else ("--matrices", str(matrices))),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(f"--tensorrt-python {python}: cannot run it: {error.strerror}") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise UserError(f"--engine tensorrt: {lines[-1]}")
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows
