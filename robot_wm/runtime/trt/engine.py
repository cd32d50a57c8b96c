"""The tick graph on TensorRT: one launch a tick, recurrent state on the GPU.

A tick is a CUDA graph: copy in, then the engine's kernels, which put the outputs into the host's memory. The state is
two buffers that swap roles, so there are two graphs, one for each phase, and no state is ever copied. Small states take
another way, see ``_SMALL_BYTES``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.engine import Array, EngineError
from robot_wm.runtime.graph_tensors import StateTensor
from robot_wm.runtime.trt import api
from robot_wm.runtime.trt.cuda import Cuda, Stream
from robot_wm.runtime.trt.device_memory import DeviceBlock, HostBlock, Layout, Tensor
from robot_wm.spec import MAX_TENSOR_ELEMENTS

# States up to this size lie in the host's blocks and travel with the inputs and outputs. The host carries them from one
# tick's outputs to the next one's inputs, and may overwrite them for nothing: the controller does so with the action
# after every tick.
_SMALL_BYTES = 4096
_Call = Callable[[], None]


class TensorRTEngine:
    """Computes ticks of a plan on the first GPU; an ``Engine``.

    ``plan`` is what ``build_plan`` made on this machine, ``state`` the recurrent tensors as the bundle's manifest
    lists them. ``cuda_graph``: launch a tick as one graph; where that cannot be captured the same work is queued call
    by call and ``graph_error`` says why. ``mapped``: no copies, the GPU reaches into the host's memory; None: for
    outputs, which it need not wait for, and for inputs where both share one memory. ``host_code``: the plan is a
    version-compatible one, which brings its runtime along. ``background``: whatever else the GPU is asked to compute
    goes first.
    """

    def __init__(
        self,
        plan: bytes,
        state: Sequence[StateTensor],
        *,
        cuda_graph: bool = True,
        mapped: bool | None = None,
        host_code: bool = False,
        background: bool = False,
        origin: str = "plan",
    ) -> None:
        self._plan, self._state_specs, self._origin = plan, tuple(state), origin
        self._wants_graph, self._mapped, self._host_code = cuda_graph, mapped, host_code
        self._background = background
        self._undo = ExitStack()
        self._stream: Any = None
        self._release()

    def _release(self) -> None:
        if self._stream is not None:
            self._stream.settle()  # before anything goes that queued work may still use
        self._undo.close()
        self._stream = None
        self._runtime: Any = None
        self._engine: Any = None
        self._contexts: list[Any] = []
        self.graph_error: str | None = None  # why a tick is queued call by call although a graph was wanted
        self._inputs: dict[str, Array] = {}
        self._outputs: dict[str, Array] = {}
        self._carry_to = self._carry_from = np.zeros(0, dtype=np.float32)
        self._small: dict[str, Array] = {}  # state name -> its view in the input block
        self._large: dict[str, tuple[int, int]] = {}  # state name -> addresses of its two buffers
        self._initial = {state.name: state.initial_array() for state in self._state_specs}
        self._ticks: tuple[_Call, ...] = ()  # by phase: queues the work of one tick
        self._phase = 0  # which of the two buffers the next tick reads
        self._must_clear = False  # the GPU could not take the initial state yet

    @property
    def inputs(self) -> Mapping[str, Array]:
        """See ``Engine.inputs``."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, Array]:
        """See ``Engine.outputs``."""
        return self._outputs

    def activate(self) -> None:
        """Load the plan, allocate, capture and warm up; UserError for a plan that does not fit, or without a GPU.

        Takes seconds: libraries are loaded, and the first launches are slow.
        """
        if self._ticks:
            return
        try:
            self._start()
        except EngineError as error:
            self._release()
            raise UserError(f"{self._origin}: cannot be started on this GPU: {error}") from None
        except BaseException:
            self._release()
            raise

    def _start(self) -> None:
        trt, undo = api.load(), self._undo
        cuda = Cuda.open()
        mapped = (cuda.gpu().is_integrated, True) if self._mapped is None else (self._mapped, self._mapped)
        self._stream = Stream(cuda, background=self._background)
        undo.callback(self._stream.release)
        self._load(trt)
        given, made = self._tensors(trt)
        small = [state for state in self._state_specs if given[state.input].size_bytes <= _SMALL_BYTES]
        large = [state for state in self._state_specs if given[state.input].size_bytes > _SMALL_BYTES]
        for state in large:
            if state.shown:
                raise UserError(f"{self._origin}: state {state.name} is an output, too; {_SMALL_BYTES} bytes at most")
        # Small states come first in both blocks, in one order: then one host copy carries them all over.
        blocks = []
        sides = ((given, [s.input for s in small]), (made, [s.output for s in small]))
        for (tensors, names), reached in zip(sides, mapped, strict=True):
            other = [name for name in tensors if not self._is_state(name)]
            blocks.append(HostBlock(cuda, Layout.of(tensors[name] for name in (*names, *other)), mapped=reached))
            undo.callback(blocks[-1].release)
        block_in, block_out = blocks
        self._inputs, self._outputs = dict(block_in.views), dict(block_out.views)
        for state in small:
            self._small[state.name] = self._inputs.pop(state.input)
            if not state.shown:
                del self._outputs[state.output]
        carried = Layout.of(given[s.input] for s in small).size // 4 if small else 0
        self._carry_to, self._carry_from = block_in.block[:carried], block_out.block[:carried]
        places = [block_in.addresses | block_out.addresses]  # by phase: tensor -> address
        if large:
            layout = Layout.of(given[s.input] for s in large)
            pair = []
            for _ in range(2):
                pair.append(DeviceBlock(cuda, layout))
                undo.callback(pair[-1].release)
            for s in large:
                self._large[s.name] = (pair[0].addresses[s.input], pair[1].addresses[s.input])
            places = [
                places[0]
                | {s.input: self._large[s.name][phase] for s in large}
                | {s.output: self._large[s.name][1 - phase] for s in large}
                for phase in range(2)
            ]
        # Last in, first out: graphs go first, then what TensorRT made, then the memory that both use, then the stream.
        undo.callback(self._forget_engine)
        self._write_initial()
        self._ticks = tuple(self._tick(trt, block_in, block_out, place) for place in places)
        self._warm_up()
        block_out.block.fill(0)

    def _load(self, trt: api.TensorRT) -> None:
        self._runtime = trt.make("Runtime", trt.log)
        if self._host_code:
            self._runtime.engine_host_code_allowed = True
        trt.log.take()
        self._engine = self._runtime.deserialize_cuda_engine(self._plan)
        if self._engine is None:
            raise UserError(
                f"{self._origin}: TensorRT {trt.version} cannot load it: {trt.log.take()}; build the engine anew"
            )

    def _forget_engine(self) -> None:
        self._contexts.clear()
        self._engine = self._runtime = None

    def _is_state(self, name: str) -> bool:
        return any(name in (state.input, state.output) for state in self._state_specs)

    def _tensors(self, trt: api.TensorRT) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Inputs and outputs of the plan by name. UserError for what is no tick of this agent."""
        module, engine = trt.module, self._engine
        dtypes = {module.DataType.FLOAT: np.float32, module.DataType.UINT8: np.uint8}
        given: dict[str, Tensor] = {}
        made: dict[str, Tensor] = {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            shape, dtype = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)
            on_gpu = engine.get_tensor_location(name) == module.TensorLocation.DEVICE
            if dtype not in dtypes or not on_gpu or not shape or min(shape) < 1:
                raise UserError(
                    f"{self._origin}: tensor {name[:80]} is {dtype} {str(shape)[:80]}; fixed float32 or uint8 needed"
                )
            is_input = engine.get_tensor_mode(name) == module.TensorIOMode.INPUT
            (given if is_input else made)[name] = Tensor(name, shape, dtypes[dtype])
        if sum(math.prod(tensor.shape) for tensor in (*given.values(), *made.values())) > MAX_TENSOR_ELEMENTS:
            raise UserError(f"{self._origin}: inputs and outputs have more than {MAX_TENSOR_ELEMENTS} elements in all")
        for state in self._state_specs:
            for name, tensors in ((state.input, given), (state.output, made)):
                if tensors.get(name) != Tensor(name, state.shape, np.float32):
                    raise UserError(f"{self._origin}: has no float32 tensor {name} of shape {state.shape}")
        return given, made

    def _tick(
        self, trt: api.TensorRT, block_in: HostBlock, block_out: HostBlock, addresses: Mapping[str, int]
    ) -> _Call:
        """What queues one phase's tick, its tensors at ``addresses``: one launch, or call by call."""
        # A context to itself: TensorRT forbids to change one from which a graph was captured.
        context = self._engine.create_execution_context()
        if context is None:
            raise EngineError(f"no execution context: {trt.log.take()}")
        self._contexts.append(context)
        for name, address in addresses.items():
            if not context.set_tensor_address(name, address):
                raise EngineError(f"tensor {name}: {trt.log.take()}")
        stream: Stream = self._stream
        execute, number, log = context.execute_async_v3, stream.number, trt.log

        def enqueue() -> None:
            if not execute(number):
                raise EngineError(f"TensorRT: {log.take()}")

        calls = (*block_in.uploads(stream), enqueue, *block_out.downloads(stream))

        def queue() -> None:
            for call in calls:
                call()

        queue()  # what a context does once it does now; a capture must not record it
        stream.synchronize()
        if not self._wants_graph or self.graph_error is not None:
            return queue
        try:
            graph = stream.capture(queue)
        except EngineError as error:
            self.graph_error = str(error)
            return queue
        self._undo.callback(graph.release)
        return graph.launch

    def _warm_up(self) -> None:
        """Run every phase as a tick would, so that the first real one is not a slow one; nothing of it stays."""
        for _ in range(2 * len(self._ticks)):
            self.infer()
        self._phase = 0
        self._write_initial()

    def infer(self) -> None:
        """Compute one tick and wait for it; raises EngineError."""
        if not self._ticks:
            raise EngineError("the engine is not active")
        if self._must_clear:
            self._write_initial()
        self._ticks[self._phase]()
        self._stream.synchronize()
        np.copyto(self._carry_to, self._carry_from)
        if self._large:
            self._phase = 1 - self._phase

    def clear_state(self) -> None:
        """Give every state its initial value. Where the GPU cannot take it now, the next ``infer`` does, or raises."""
        # A controller calls this because a tick failed, and has yet to send its safe command: it must not raise.
        with suppress(EngineError):
            self._write_initial()

    def _write_initial(self) -> None:
        self._must_clear = True
        for name, values in self._initial.items():
            self.write_state(name, values)
        self._must_clear = False

    def write_state(self, name: str, values: Array) -> None:
        """Copy ``values`` over the state that the next ``infer`` reads; raises EngineError for one on the GPU."""
        if name in self._small:
            self._small[name][...] = values
            return
        staged = np.empty_like(self._initial[name])
        staged[...] = values
        self._stream.copy_to_gpu(self._large[name][self._phase], staged.ctypes.data, staged.nbytes)()
        self._stream.synchronize()

    def read_state(self, name: str) -> NDArray[np.float32]:
        """A copy of the state that the next ``infer`` would read."""
        if name in self._small:
            return self._small[name].copy()
        values = np.empty_like(self._initial[name])
        self._stream.copy_to_host(values.ctypes.data, self._large[name][self._phase], values.nbytes)()
        self._stream.synchronize()
        return values

    def deactivate(self) -> None:
        """Free the GPU: graphs, contexts, engine, memory, stream."""
        self._release()
