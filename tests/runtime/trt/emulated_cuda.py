# ruff: noqa: N802, N815  # NVIDIA names its functions so
"""A CUDA runtime of our making, in the host's memory, to check our own bookkeeping without a GPU.

It is strict where the real one is treacherous: nothing that is queued runs before somebody waits for it, and a copy
outside of an allocation or to the wrong side is an error. What a real GPU does is asked in tests/gpu.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any


class CudaError(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureInvalidated = 901


class Kind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class Stream:
    def __init__(self, number: int) -> None:
        self.number, self.queued, self.recorded = number, [], None

    def __int__(self) -> int:
        return self.number

    def add(self, work) -> None:
        (self.queued if self.recorded is None else self.recorded).append(work)


class Cuda:
    """The functions of ``cuda.bindings.runtime`` that we call, and what is alive of what they made."""

    def __init__(self) -> None:
        self.module = ModuleType("cuda.bindings.runtime")
        self.host: dict[int, Any] = {}
        self.device: dict[int, Any] = {}
        self.mapped: set[int] = set()
        self.streams: dict[int, Stream] = {}
        self.graphs: set[int] = set()
        self.executables: set[int] = set()
        self.fail: dict[str, int] = {}  # function -> after how many more calls it fails, and then always
        self.calls: list[str] = []
        self.integrated = False
        self.capturable = True
        self._number = 100
        names = [name for name in dir(type(self)) if name.startswith("cuda")]
        for name in names:
            setattr(self.module, name, self._checked(name, getattr(self, name)))
        self.module.cudaError_t, self.module.cudaMemcpyKind = CudaError, Kind
        self.module.cudaDeviceAttr = SimpleNamespace(
            cudaDevAttrComputeCapabilityMajor=75, cudaDevAttrComputeCapabilityMinor=76, cudaDevAttrIntegrated=18
        )
        self.module.cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
        self.module.cudaHostAllocDefault, self.module.cudaHostAllocMapped = 0, 2
        self.module.cudaDeviceScheduleSpin, self.module.cudaDeviceMapHost = 1, 8
        self.module.cudaStreamNonBlocking = 1

    def _checked(self, name, function):
        def call(*arguments):
            self.calls.append(name)
            if name in self.fail:
                self.fail[name] -= 1
                if self.fail[name] < 0:
                    if name == "cudaStreamSynchronize":
                        arguments[0].queued.clear()  # such an error ends all that was queued
                    return (CudaError.cudaErrorIllegalAddress, None)
            result = function(*arguments)
            return result if isinstance(result, tuple) else (CudaError.cudaSuccess, result)

        return call

    @property
    def alive(self) -> dict[str, int]:
        kinds = ("host", "device", "streams", "graphs", "executables")
        return {name: len(getattr(self, name)) for name in kinds}

    def _new(self) -> int:
        self._number += 1
        return self._number

    def _allocate(self, size, where):
        assert size > 0
        memory = (ctypes.c_uint8 * (size + 4096))()
        address = -(-ctypes.addressof(memory) // 4096) * 4096
        ctypes.memset(address, 0xFF, size)  # what nobody has written is NaN
        where[address] = (memory, size)
        return address

    def owner(self, address, size) -> str:
        for name, where in (("host", self.host), ("device", self.device)):
            if any(base <= address and address + size <= base + length for base, (_, length) in where.items()):
                return name
        return "foreign"

    def reaches(self, address, size) -> bool:
        """Whether the GPU may read and write there."""
        return self.owner(address, size) == "device" or any(
            base <= address and address + size <= base + self.host[base][1] for base in self.mapped
        )

    # -- the runtime's functions --------------------------------------------------------------------------------------

    def cudaGetDeviceCount(self):
        return 1

    def cudaSetDevice(self, device):
        return None

    def cudaSetDeviceFlags(self, flags):
        return None

    def cudaGetLastError(self):
        return None

    def cudaGetErrorName(self, code):
        return CudaError(code).name.encode()

    def cudaGetErrorString(self, code):
        return b"in words"

    def cudaDriverGetVersion(self):
        return 12040

    def cudaDeviceGetAttribute(self, attribute, device):
        return {75: 8, 76: 7, 18: int(self.integrated)}[attribute]

    def cudaGetDeviceProperties(self, device):
        return SimpleNamespace(name=b"Emulated GPU")

    def cudaDeviceGetStreamPriorityRange(self):
        return CudaError.cudaSuccess, 0, -5

    def cudaMalloc(self, size):
        return self._allocate(size, self.device)

    def cudaFree(self, address):
        del self.device[address]

    def cudaHostAlloc(self, size, flags):
        address = self._allocate(size, self.host)
        if flags:
            self.mapped.add(address)
        return address

    def cudaFreeHost(self, address):
        del self.host[address]
        self.mapped.discard(address)

    def cudaHostGetDevicePointer(self, address, flags):
        assert address in self.mapped
        return address

    def cudaStreamCreateWithPriority(self, flags, priority):
        stream = Stream(self._new())
        stream.priority = priority
        self.streams[stream.number] = stream
        return stream

    def cudaStreamDestroy(self, stream):
        assert not stream.queued
        del self.streams[stream.number]

    def cudaStreamSynchronize(self, stream):
        assert stream.recorded is None, "waiting while capturing"
        while stream.queued:
            stream.queued.pop(0)()

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        wanted = ("device", "host") if kind == Kind.cudaMemcpyHostToDevice else ("host", "device")

        def copy():
            # Pageable memory of NumPy's counts as the host's.
            found = [self.owner(address, size).replace("foreign", "host") for address in (target, source)]
            assert tuple(found) == wanted
            ctypes.memmove(target, source, size)

        stream.add(copy)

    def cudaStreamBeginCapture(self, stream, mode):
        stream.recorded = []

    def cudaStreamEndCapture(self, stream):
        recorded, stream.recorded = stream.recorded, None
        if not self.capturable:
            return CudaError.cudaErrorStreamCaptureInvalidated, None
        graph = SimpleNamespace(number=self._new(), work=recorded)
        self.graphs.add(graph.number)
        return graph

    def cudaGraphInstantiateWithFlags(self, graph, flags):
        executable = SimpleNamespace(number=self._new(), work=list(graph.work))
        self.executables.add(executable.number)
        return executable

    def cudaGraphDestroy(self, graph):
        self.graphs.remove(graph.number)

    def cudaGraphExecDestroy(self, executable):
        self.executables.remove(executable.number)

    def cudaGraphLaunch(self, executable, stream):
        assert executable.number in self.executables
        stream.queued.extend(executable.work)
