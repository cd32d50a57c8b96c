"""``parity.npz``: ticks of the opset-17 graph with what went in and what ONNX Runtime (CPU, float32) put out.

Keys are ``in/<input>`` and ``out/<output>``, each ``[N, *tensor shape]`` with the tensor's batch axis of 1 kept,
so that ``recording.inputs[name][tick]`` is what an engine is fed. Read without pickle: every array's type and
shape is known from the manifest, and a header that says otherwise is refused before anything is allocated.
"""

from __future__ import annotations

import io
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.archive import open_archive, write_archive
from robot_wm.runtime.graph_tensors import TensorSpec
from robot_wm.runtime.manifest import Manifest

_MAX_HEADER_BYTES = 1024


@dataclass(frozen=True)
class Recording:
    """N ticks, the inputs and outputs of each by tensor name."""

    inputs: Mapping[str, NDArray[Any]]  # name -> [N, *shape] float32 or uint8
    outputs: Mapping[str, NDArray[Any]]  # name -> [N, *shape] float32

    @property
    def ticks(self) -> int:
        """N."""
        return len(next(iter(self.inputs.values())))


def write_recording(path: Path, recording: Recording) -> None:
    """Write ``parity.npz``, byte for byte the same for the same arrays."""
    arrays = {f"in/{name}": array for name, array in recording.inputs.items()}
    arrays |= {f"out/{name}": array for name, array in recording.outputs.items()}
    write_arrays(path, arrays)


def read_recording(file: IO[bytes], manifest: Manifest, *, origin: str) -> Recording:
    """Read the recording; raises UserError naming ``origin`` and the key unless it is what ``manifest`` says."""
    arrays = read_arrays(file, _expected(manifest), manifest.parity.ticks, origin=origin)
    return Recording(inputs=under("in/", arrays), outputs=under("out/", arrays))


def check_recording(file: IO[bytes], manifest: Manifest, *, origin: str) -> None:
    """Refuse (UserError) a recording whose keys, types or shapes are not the manifest's; reads headers only."""
    check_arrays(file, _expected(manifest), manifest.parity.ticks, origin=origin)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by key as a ``.npz`` that NumPy reads, byte for byte the same for the same arrays."""
    write_archive(path, ((f"{key}.npy", _npy_bytes(array)) for key, array in arrays.items()))


def read_arrays(
    file: IO[bytes], expected: Mapping[str, TensorSpec], rows: int, *, origin: str
) -> dict[str, NDArray[Any]]:
    """Arrays [rows, *shape] by key; UserError naming ``origin`` and the key unless they are those, and finite."""
    arrays: dict[str, NDArray[Any]] = {}
    with open_archive(file, origin=origin, max_entries=len(expected)) as archive:
        for key, tensor, source in _members(archive, expected, rows, origin):
            array = np.frombuffer(source.read(), dtype=tensor.dtype).reshape(rows, *tensor.shape)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise UserError(f"{origin}: {key} holds values that are not finite")
            arrays[key] = array
    return arrays


def check_arrays(file: IO[bytes], expected: Mapping[str, TensorSpec], rows: int, *, origin: str) -> None:
    """As ``read_arrays``, but reads headers only."""
    with open_archive(file, origin=origin, max_entries=len(expected)) as archive:
        for _ in _members(archive, expected, rows, origin):
            pass


def under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Those whose keys begin so, by what follows."""
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def _expected(manifest: Manifest) -> dict[str, TensorSpec]:
    return {f"in/{tensor.name}": tensor for tensor in manifest.inputs()} | {
        f"out/{tensor.name}": tensor for tensor in manifest.all_outputs()
    }


def _members(
    archive: zipfile.ZipFile, expected: Mapping[str, TensorSpec], rows: int, origin: str
) -> Iterator[tuple[str, TensorSpec, IO[bytes]]]:
    """Each key with its tensor and its data, which starts behind a header that was checked."""
    present = {name.removesuffix(".npy") for name in archive.namelist()}
    if present != set(expected) or len(present) != len(archive.namelist()):
        odd = sorted(present ^ set(expected))
        raise UserError(f"{origin}: {odd[0][:80] if odd else 'a key'} is missing, unknown or there twice")
    for key, tensor in expected.items():
        entry = archive.getinfo(f"{key}.npy")
        shape = (rows, *tensor.shape)
        data_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(tensor.dtype).itemsize
        if entry.compress_type != zipfile.ZIP_STORED or not 0 <= entry.file_size - data_bytes <= _MAX_HEADER_BYTES:
            raise UserError(
                f"{origin}: {key} has {entry.file_size} bytes; {data_bytes} and a header expected for {shape}"
            )
        with archive.open(entry) as source:
            found = _header(source, origin=f"{origin}: {key}")
            if found != (shape, False, np.dtype(tensor.dtype)) or entry.file_size - source.tell() != data_bytes:
                raise UserError(f"{origin}: {key} is {found[2]} {found[0]}, expected {tensor.dtype} {shape}")
            yield key, tensor, source


def _header(source: IO[bytes], *, origin: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        if npy.read_magic(source) != (1, 0):
            raise ValueError("not NPY version 1.0")
        return npy.read_array_header_1_0(source, max_header_size=_MAX_HEADER_BYTES)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise UserError(f"{origin}: damaged header: {str(error)[:120]}") from None


def _npy_bytes(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    npy.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()
