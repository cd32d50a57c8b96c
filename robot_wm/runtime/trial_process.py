"""The process in which ``graph_trial`` tries a graph. It imports nothing of ours, so that it is there soon."""

from __future__ import annotations

import json
import math
import resource
import sys
import time

TICKS = 2  # the first allocates
_MAX_RANK = 32  # of a NumPy array; engines take fewer


def serve(*, load_s: float, tick_s: float, memory_bytes: int, max_elements: int) -> None:
    """Load and run the ONNX graph that comes on stdin; what was found out goes to stdout, a JSON object a line.

    ``load_s`` and ``tick_s`` are processor time, ``memory_bytes`` address space beyond the imports.
    """
    import numpy as np
    import onnxruntime as ort

    graph = sys.stdin.buffer.read()
    _limit_memory(memory_bytes)
    _limit_processor(load_s)
    try:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        begin_s = time.process_time()
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"], enable_fallback=0)
        inputs = {node.name: node for node in session.get_inputs()}
        _say(load_s=time.process_time() - begin_s)
        fixed = all(isinstance(length, int) and length > 0 for node in inputs.values() for length in node.shape)
        fixed = fixed and all(len(node.shape) <= _MAX_RANK for node in inputs.values())
        if not fixed or sum(math.prod(node.shape) for node in inputs.values()) > max_elements:
            return  # the engine refuses it by name, and runs nothing
        kinds = {"tensor(uint8)": np.uint8}
        feed = {name: np.zeros(node.shape, kinds.get(node.type, np.float32)) for name, node in inputs.items()}
        _limit_processor(TICKS * tick_s)
        spent_s = []
        for _ in range(TICKS):
            begin_s = time.process_time()
            session.run(None, feed)
            spent_s.append(time.process_time() - begin_s)
        _say(tick_s=min(spent_s))
    except Exception as error:  # ONNX Runtime's share no base class
        _say(failed=(str(error).splitlines() or [type(error).__name__])[0][:300])


def _say(**found: object) -> None:
    print(json.dumps(found), flush=True)


def _limit_memory(more_bytes: int) -> None:
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    _limit(resource.RLIMIT_AS, taken + more_bytes)


def _limit_processor(more_s: float) -> None:
    _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + more_s))


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
