"""The CUDA runtime through NVIDIA's Python bindings: checked calls, one stream, captured graphs.

The first visible GPU is used; CUDA_VISIBLE_DEVICES chooses another. The function names are those of the CUDA runtime,
https://docs.nvidia.com/cuda/cuda-runtime-api; every binding returns a tuple that begins with the error code.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robot_wm.errors import UserError
from robot_wm.runtime.engine import EngineError
from robot_wm.runtime.trt.driver import driver_version

_MODULES = ("cuda.bindings.runtime", "cuda.cudart")  # the second: cuda-python before 12.6
_MEND = "pip install 'robot-wm[tensorrt]'"
_DEVICE = 0


@dataclass(frozen=True)
class Gpu:
    """What a plan is built for."""

    name: str
    compute_capability: str  # such as 8.7
    driver: str  # its version, or a Jetson's L4T release
    is_integrated: bool  # shares the host's memory: a Jetson


class Cuda:
    """The first GPU. ``Cuda.open`` makes one."""

    def __init__(self, runtime: Any) -> None:
        """``runtime`` is a module of bindings; use ``open``."""
        self.runtime = runtime
        self._success = runtime.cudaError_t.cudaSuccess

    @classmethod
    def open(cls) -> Cuda:
        """Load the bindings and choose the GPU. Raises UserError where there are none, no driver or no GPU.

        To be called before TensorRT is touched: without a usable driver it ends the process.
        """
        cuda = cls(_bindings())
        try:
            count = cuda.call("cudaGetDeviceCount")
        except (EngineError, RuntimeError) as error:  # old bindings raise what they cannot load
            raise UserError(f"no GPU can be used here: {error}; robot-wm doctor tells what is missing") from None
        if count < 1:
            raise UserError("this machine shows no GPU; robot-wm doctor tells what is missing")
        # The thread that waits for a tick spins: to be woken by the kernel costs tens of microseconds. The flag is
        # refused where somebody else has started CUDA in this process; then it stays as they wanted it.
        runtime = cuda.runtime
        runtime.cudaSetDeviceFlags(runtime.cudaDeviceScheduleSpin | runtime.cudaDeviceMapHost)
        runtime.cudaGetLastError()
        try:
            cuda.call("cudaSetDevice", _DEVICE)
        except EngineError as error:
            raise UserError(f"the GPU cannot be used: {error}") from None
        return cuda

    def call(self, name: str, *arguments: Any) -> Any:
        """Call ``name``; what it gives besides the error code. Raises EngineError naming the call and the error."""
        result = getattr(self.runtime, name)(*arguments)
        if result[0] != self._success:
            raise self.error(name, result[0])
        return result[1] if len(result) == 2 else result[1:]

    def bind(self, name: str, *arguments: Any) -> Callable[[], None]:
        """The same call again and again, with nothing looked up or allocated each time; for a tick."""
        function, success = getattr(self.runtime, name), self._success

        def call() -> None:
            code = function(*arguments)[0]
            if code != success:
                raise self.error(name, code)

        return call

    def error(self, name: str, code: Any) -> EngineError:
        """What went wrong in ``name``, in words."""
        texts = [function(code)[1] for function in (self.runtime.cudaGetErrorName, self.runtime.cudaGetErrorString)]
        words = ": ".join(text.decode(errors="replace") for text in texts if text)
        return EngineError(f"{name}: {words or code}")

    def gpu(self) -> Gpu:
        """Name, compute capability and driver of the GPU."""
        attributes = self.runtime.cudaDeviceAttr
        major, minor, integrated = (
            self.call("cudaDeviceGetAttribute", attribute, _DEVICE)
            for attribute in (
                attributes.cudaDevAttrComputeCapabilityMajor,
                attributes.cudaDevAttrComputeCapabilityMinor,
                attributes.cudaDevAttrIntegrated,
            )
        )
        name = self.call("cudaGetDeviceProperties", _DEVICE).name
        return Gpu(
            name=(name.decode(errors="replace") if isinstance(name, bytes) else str(name)).strip("\0 "),
            compute_capability=f"{major}.{minor}",
            # In a container without /proc/driver there is still the newest CUDA that the driver can run.
            driver=driver_version() or f"CUDA {self.call('cudaDriverGetVersion')}",
            is_integrated=bool(integrated),
        )


class Stream:
    """A queue of GPU work, ahead of everybody else's, or in the ``background`` behind it. One thread at a time."""

    def __init__(self, cuda: Cuda, *, background: bool = False) -> None:
        self._cuda = cuda
        lowest, highest = cuda.call("cudaDeviceGetStreamPriorityRange")
        priority = lowest if background else highest
        self.handle = cuda.call("cudaStreamCreateWithPriority", cuda.runtime.cudaStreamNonBlocking, priority)
        self.number = int(self.handle)  # as TensorRT takes it
        self.synchronize = cuda.bind("cudaStreamSynchronize", self.handle)  # waits for all that was queued

    def copy_to_gpu(self, target: int, source: int, size: int) -> Callable[[], None]:
        """A call that queues a copy of ``size`` bytes from host to GPU."""
        kind = self._cuda.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        return self._cuda.bind("cudaMemcpyAsync", target, source, size, kind, self.handle)

    def copy_to_host(self, target: int, source: int, size: int) -> Callable[[], None]:
        """A call that queues a copy of ``size`` bytes from GPU to host."""
        kind = self._cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        return self._cuda.bind("cudaMemcpyAsync", target, source, size, kind, self.handle)

    def capture(self, work: Callable[[], None]) -> CapturedGraph:
        """Record what ``work`` queues, without running it. Raises EngineError if anything in it cannot be recorded."""
        cuda, runtime = self._cuda, self._cuda.runtime
        # Thread-local: what other threads of this process ask of CUDA meanwhile is their own affair.
        cuda.call("cudaStreamBeginCapture", self.handle, runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        graph = None
        try:
            try:
                work()
            finally:
                code, graph = runtime.cudaStreamEndCapture(self.handle)
            if code != runtime.cudaError_t.cudaSuccess:
                raise cuda.error("cudaStreamEndCapture", code)
            return CapturedGraph(cuda, self, cuda.call("cudaGraphInstantiateWithFlags", graph, 0))
        except BaseException:
            runtime.cudaGetLastError()  # a failed capture must not be the next call's error
            raise
        finally:
            if graph is not None:
                runtime.cudaGraphDestroy(graph)

    def settle(self) -> None:
        """Wait until nothing that was queued runs any more, well or ill. Never raises."""
        self._cuda.runtime.cudaStreamSynchronize(self.handle)

    def release(self) -> None:
        """Give the stream back. Never raises."""
        self._cuda.runtime.cudaStreamDestroy(self.handle)


class CapturedGraph:
    """Work that the GPU runs as a whole for one launch."""

    def __init__(self, cuda: Cuda, stream: Stream, executable: Any) -> None:
        self._cuda, self._executable = cuda, executable
        self.launch = cuda.bind("cudaGraphLaunch", executable, stream.handle)

    def release(self) -> None:
        """Give the graph back. Never raises."""
        self._cuda.runtime.cudaGraphExecDestroy(self._executable)


def _bindings() -> Any:
    reasons = []
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:
            if not isinstance(error, ModuleNotFoundError):
                reasons.append(f"{name}: {error}")
    raise UserError(f"CUDA's Python bindings cannot be used: {'; '.join(reasons) or 'not installed'}; {_MEND}")
