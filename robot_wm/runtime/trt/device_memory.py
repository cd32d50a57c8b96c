"""Where an engine's tensors lie: side by side in one block for each direction, so that one copy moves them all.

A copy of a few bytes costs a GPU as much as one of many kilobytes: several microseconds. Every tensor begins at a
multiple of 256 bytes, which TensorRT asks of every address.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.engine import Array
from robot_wm.runtime.trt.cuda import Cuda, Stream

ALIGNMENT = 256  # bytes


class Tensor(NamedTuple):
    """One input or output of an engine."""

    name: str
    shape: tuple[int, ...]
    dtype: Any  # a NumPy type

    @property
    def size_bytes(self) -> int:
        """Bytes of its elements."""
        return int(np.prod(self.shape, dtype=np.int64)) * int(np.dtype(self.dtype).itemsize)


@dataclass(frozen=True)
class Layout:
    """Places of tensors in a block, in bytes from its begin."""

    tensors: tuple[Tensor, ...]
    offsets: Mapping[str, int]
    size: int  # bytes; at least one alignment, because an empty allocation has no address

    @classmethod
    def of(cls, tensors: Iterable[Tensor]) -> Layout:
        """Lay out tensors in their order."""
        chosen, offsets, end = tuple(tensors), {}, 0
        for tensor in chosen:
            offsets[tensor.name] = end
            end += -(-tensor.size_bytes // ALIGNMENT) * ALIGNMENT
        return cls(tensors=chosen, offsets=offsets, size=max(end, ALIGNMENT))

    def views(self, block: NDArray[np.float32]) -> dict[str, Array]:
        """Each tensor as an array over its part of ``block`` [size / 4].

        The block is float32 because most tensors are: who fills several of them may see the block as their base.
        """
        made: dict[str, Array] = {}
        for tensor in self.tensors:
            begin = self.offsets[tensor.name]
            source = block if tensor.dtype == np.float32 else block.view(tensor.dtype)
            begin //= source.itemsize
            made[tensor.name] = source[begin : begin + tensor.size_bytes // source.itemsize].reshape(tensor.shape)
        return made

    def addresses(self, base: int) -> dict[str, int]:
        """Each tensor's address in a block that begins at ``base``."""
        return {name: base + offset for name, offset in self.offsets.items()}


class HostBlock:
    """A block of pinned host memory and its likeness on the GPU.

    ``mapped``: the GPU reads and writes the host's memory itself and nothing is copied. That is the faster way for what
    it writes, and for what it reads where both share one memory (Jetson). The pinned memory goes with the last view of
    it, which may be later than ``release``: an old view then shows old numbers instead of ending the process.
    """

    def __init__(self, cuda: Cuda, layout: Layout, *, mapped: bool) -> None:
        self.layout, self._cuda, self._device = layout, cuda, 0
        runtime = cuda.runtime
        flags = runtime.cudaHostAllocMapped if mapped else runtime.cudaHostAllocDefault
        self._host = int(cuda.call("cudaHostAlloc", layout.size, flags))
        memory = (ctypes.c_uint8 * layout.size).from_address(self._host)
        # Not at the interpreter's end: the driver may be gone before.
        weakref.finalize(memory, runtime.cudaFreeHost, self._host).atexit = False
        self.block = np.frombuffer(memoryview(memory), dtype=np.float32)  # [size / 4]
        self.block.fill(0)
        if mapped:
            base = int(cuda.call("cudaHostGetDevicePointer", self._host, 0))
        else:
            base = self._device = int(cuda.call("cudaMalloc", layout.size))
        self.views, self.addresses = layout.views(self.block), layout.addresses(base)

    def uploads(self, stream: Stream) -> tuple[Callable[[], None], ...]:
        """The call that queues the copy to the GPU; none if mapped."""
        return (stream.copy_to_gpu(self._device, self._host, self.layout.size),) if self._device else ()

    def downloads(self, stream: Stream) -> tuple[Callable[[], None], ...]:
        """The call that queues the copy to the host; none if mapped."""
        return (stream.copy_to_host(self._host, self._device, self.layout.size),) if self._device else ()

    def release(self) -> None:
        """Free the GPU's memory and let go of the host's. Never raises."""
        if self._device:
            self._cuda.runtime.cudaFree(self._device)
            self._device = 0
        self.views, self.block = {}, np.zeros(0, dtype=np.float32)


class DeviceBlock:
    """A block of GPU memory that the host does not see."""

    def __init__(self, cuda: Cuda, layout: Layout) -> None:
        self._cuda, self._base = cuda, int(cuda.call("cudaMalloc", layout.size))
        self.addresses = layout.addresses(self._base)

    def release(self) -> None:
        """Free it. Never raises."""
        self._cuda.runtime.cudaFree(self._base)
