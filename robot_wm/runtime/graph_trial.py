"""A graph that nobody vouches for is loaded and run once where it can do no harm: in a process with limits.

Loading counts, too: ONNX Runtime computes what is constant while it loads. A tick graph has no control flow and no
shape that depends on its inputs (``graph_check``), so what one tick costs, every tick costs. Processor time is
limited rather than time on the clock: a busy machine refuses no good graph.
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from robot_wm.errors import UserError
from robot_wm.runtime.graph_check import require_plain_graph
from robot_wm.runtime.trial_process import TICKS
from robot_wm.spec import MAX_TENSOR_ELEMENTS

if TYPE_CHECKING:
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.runtime.bundle_graph import BundleGraph

LOAD_S = 10.0  # of processor time, for the smallest graph; a 12m tick takes 0.1 to 0.5 s
LOAD_BYTES_PER_S = 5 * 10**6  # a hundredth of what was measured on a workstation
MAX_TICK_S = 1.0  # of processor time; no robot is controlled at less than 1 Hz
MAX_REPLAY_S = 900.0  # of processor time, for the recording that every start replays twice
SPARE_BYTES = 512 * 2**20  # beyond imports and a graph's weights; image encoders take some MiB
WEIGHT_COPIES = 4  # the file, the parsed model, the tensors, and the same packed for the processor
_CLOCK_FACTOR = 20.0  # when a process that uses no processor time is given up

_passed: set[str] = set()  # SHA-256 of graphs that this process has tried


def require_tried(bundle: Bundle, graph: BundleGraph) -> None:
    """Try one of the bundle's graphs, unless the signature was checked: then somebody vouches for it.

    To be asked before an engine is loaded or built from it. Raises UserError as ``require_affordable`` does.
    """
    if not bundle.signature_checked:
        require_affordable(bundle.read(graph.file), ticks=graph.rows, origin=str(bundle.path / graph.file))


def require_affordable(graph: bytes, *, ticks: int, origin: str) -> None:
    """Refuse (UserError naming ``origin``) a graph that takes more time or memory than any tick graph does.

    ``ticks`` is how many the bundle's recording has.
    """
    require_plain_graph(graph, origin=origin)
    key = f"{hashlib.sha256(graph).hexdigest()} {ticks}"
    if key in _passed:
        return
    load_s = LOAD_S + len(graph) / LOAD_BYTES_PER_S
    said, code = _try(graph, load_s)
    if reason := said.get("failed"):
        doing = "cannot load it" if "load_s" not in said else "fails on a tick of zeros"
        raise UserError(f"{origin}: ONNX Runtime {doing} in {_memory_bytes(graph) >> 20} MiB: {reason}")
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        what, limit_s = ("a tick", MAX_TICK_S) if "load_s" in said else ("loading it", load_s)
        raise UserError(
            f"{origin}: {what} takes more than {math.ceil(limit_s)} s of processor time; no tick graph does"
        )
    if code:
        name = signal.Signals(-code).name if code < 0 else f"code {code}"
        raise UserError(f"{origin}: ONNX Runtime dies of it ({name})")
    tick_s = said.get("tick_s", 0.0)
    for spent_s, limit_s, what in ((tick_s, MAX_TICK_S, "a tick"), (2 * ticks * tick_s, MAX_REPLAY_S, "its recording")):
        if spent_s > limit_s:
            raise UserError(f"{origin}: {what} takes {spent_s:.1f} s of processor time; at most {limit_s:g} s is right")
    _passed.add(key)


def _memory_bytes(graph: bytes) -> int:
    return SPARE_BYTES + WEIGHT_COPIES * len(graph)


def _try(graph: bytes, load_s: float) -> tuple[dict[str, Any], int]:
    """What the process said until its end, and its exit code."""
    path = [entry for entry in sys.path if entry]
    limits = {
        "load_s": load_s,
        "tick_s": MAX_TICK_S,
        "memory_bytes": _memory_bytes(graph),
        "max_elements": MAX_TENSOR_ELEMENTS,
    }
    code = f"import sys; sys.path[:] = {path!r}; from robot_wm.runtime.trial_process import serve; serve(**{limits!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        answer, _ = process.communicate(graph, timeout=_CLOCK_FACTOR * (load_s + TICKS * MAX_TICK_S))
    except subprocess.TimeoutExpired:
        process.kill()
        answer, _ = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    said: dict[str, Any] = {}
    for line in answer.splitlines():
        said |= json.loads(line)
    return said, process.returncode
