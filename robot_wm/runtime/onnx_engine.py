"""The tick graph on ONNX Runtime, with every buffer bound once.

Bound inputs and outputs (IO binding) took 0.85 of the time of ``InferenceSession.run`` on a 1m tick graph on one
thread, and they leave the garbage collector nothing to do. The state is two buffers that swap roles each tick; what of
it is shown is copied, because an output stays where it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.engine import Array, EngineError
from robot_wm.runtime.graph_check import require_plain_graph
from robot_wm.runtime.graph_tensors import StateTensor
from robot_wm.spec import MAX_TENSOR_ELEMENTS

_MAX_RANK = 5
_DTYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


class OnnxEngine:
    """Computes ticks with ONNX Runtime on the CPU; an ``Engine``.

    ``graph`` is the ONNX file or its bytes; ``state`` the recurrent tensors, as the bundle's manifest lists them;
    ``threads`` the size of the intra-op pool (1: no pool, the calling thread computes).
    """

    def __init__(self, graph: Path | bytes, state: Sequence[StateTensor], *, threads: int = 1) -> None:
        if threads < 1:
            raise UserError(f"threads must be at least 1, got {threads}")
        self._graph = graph
        self._origin = str(graph) if isinstance(graph, Path) else "graph"
        self._state_specs = tuple(state)
        self._threads = threads
        self._release()

    def _release(self) -> None:
        self._session: Any = None
        self._inputs: dict[str, Array] = {}
        self._outputs: dict[str, Array] = {}
        self._states: dict[str, tuple[Array, Array]] = {}
        self._shown: tuple[tuple[Array, Array], ...] = ()  # state buffer, the output that it is copied from
        self._bindings: tuple[Any, ...] = ()
        self._phase = 0  # which of the two state buffers the next tick reads

    @property
    def inputs(self) -> Mapping[str, Array]:
        """See ``Engine.inputs``."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, Array]:
        """See ``Engine.outputs``."""
        return self._outputs

    def activate(self) -> None:
        """Load the graph and bind its buffers; raises UserError for a graph that cannot be loaded or does not fit."""
        if self._session is not None:
            return
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        # What was checked as ONNX must not be taken for ONNX Runtime's own format.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        # A quantised graph is computed as it is written. Fused into integer products it depends on the processor:
        # without VNNI they saturate at 16 bits, and products in blocks they do not take at all.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            graph = self._graph.read_bytes() if isinstance(self._graph, Path) else self._graph
        except OSError as error:
            raise UserError(f"{self._origin}: cannot read the graph: {error.strerror}") from None
        require_plain_graph(graph, origin=self._origin)
        try:
            # Its fallback to other providers would try the same again and print to stdout.
            session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"], enable_fallback=0)
            inputs = {node.name: node for node in session.get_inputs()}
            outputs = {node.name: node for node in session.get_outputs()}
            for nodes in (inputs, outputs):
                self._require_bounded(nodes)
        except UserError:
            raise
        except Exception as error:  # ONNX Runtime's share no base class; a name may not even be text
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise UserError(f"{self._origin}: ONNX Runtime cannot load it: {reason}") from None
        given = self._in_one_block(inputs)
        made = {name: self._buffer(node) for name, node in outputs.items()}
        for state in self._state_specs:
            for name, tensors in ((state.input, given), (state.output, made)):
                if name not in tensors or tensors[name].shape != state.shape or tensors[name].dtype != np.float32:
                    raise UserError(f"{self._origin}: has no float32 tensor {name} of shape {state.shape}")
            read = given.pop(state.input)
            self._states[state.name] = (read, read if state.shown else made.pop(state.output))
        self._inputs, self._outputs, self._session = given, made, session
        self._shown = tuple((self._states[s.name][0], made[s.output]) for s in self._state_specs if s.shown)
        self._bindings = (self._bind(0), self._bind(1))
        self.clear_state()

    def _require_bounded(self, nodes: Mapping[str, Any]) -> None:
        # Before anything is allocated: a graph can declare a tensor of any size.
        for name, node in nodes.items():
            fixed = all(isinstance(length, int) and length > 0 for length in node.shape)
            if node.type not in _DTYPES or not fixed or len(node.shape) > _MAX_RANK:
                raise UserError(
                    f"{self._origin}: tensor {name[:80]} is {node.type} {str(node.shape)[:80]};"
                    " fixed float32 or uint8 needed"
                )
        if sum(math.prod(node.shape) for node in nodes.values()) > MAX_TENSOR_ELEMENTS:
            raise UserError(f"{self._origin}: inputs and outputs have more than {MAX_TENSOR_ELEMENTS} elements in all")

    def _in_one_block(self, nodes: Mapping[str, Any]) -> dict[str, Array]:
        """Buffers in which the float32 inputs lie end to end, so that a caller can fill several in one pass."""
        buffers = {name: self._buffer(node) for name, node in nodes.items()}
        floats = {name: buffer for name, buffer in buffers.items() if buffer.dtype == np.float32}
        block = np.zeros(sum(buffer.size for buffer in floats.values()), dtype=np.float32)
        start = 0
        for name, buffer in floats.items():
            buffers[name] = block[start : start + buffer.size].reshape(buffer.shape)
            start += buffer.size
        return buffers

    def _buffer(self, node: Any) -> Array:
        return np.zeros(node.shape, dtype=_DTYPES[node.type])

    def _bind(self, phase: int) -> Any:
        binding = self._session.io_binding()
        inputs, outputs = dict(self._inputs), dict(self._outputs)
        for state in self._state_specs:
            pair = self._states[state.name]
            inputs[state.input] = pair[phase]
            if not state.shown:
                outputs[state.output] = pair[1 - phase]
        # On the CPU an OrtValue of a NumPy array is a view of it; our own dictionaries keep the memory alive.
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        for name, array in outputs.items():
            binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))
        return binding

    def infer(self) -> None:
        """Compute one tick in the calling thread; raises EngineError."""
        if self._session is None:
            raise EngineError("the engine is not active")
        try:
            self._session.run_with_iobinding(self._bindings[self._phase])
        except Exception as error:
            raise EngineError(f"ONNX Runtime: {error}") from error
        for buffer, view in self._shown:
            np.copyto(buffer, view)
        self._phase = 1 - self._phase

    def clear_state(self) -> None:
        """Give every state its initial value."""
        for state in self._state_specs:
            self.write_state(state.name, state.initial_array())

    def write_state(self, name: str, values: Array) -> None:
        """Copy ``values`` over the state that the next ``infer`` reads."""
        self._states[name][self._phase][...] = values

    def read_state(self, name: str) -> NDArray[np.float32]:
        """A copy of the state that the next ``infer`` would read."""
        return self._states[name][self._phase].copy()

    def deactivate(self) -> None:
        """Free the session and every buffer."""
        self._release()
