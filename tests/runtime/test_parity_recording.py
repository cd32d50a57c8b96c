"""parity.npz: what is written comes back, and a file that lies about itself is refused before it costs anything."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.manifest import PARITY
from robot_wm.runtime.parity_recording import Recording, check_recording, read_recording, write_recording


@pytest.fixture
def bundle(signed_bundle) -> Bundle:
    return Bundle.open(signed_bundle.folder)


def members(bundle: Bundle) -> dict[str, bytes]:
    with zipfile.ZipFile(bundle.path / PARITY) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file


def refused(bundle: Bundle, file: io.BytesIO, naming: str) -> None:
    for read in (read_recording, check_recording):
        with pytest.raises(UserError, match=naming):
            read(file, bundle.manifest, origin="parity.npz")


def test_round_trip_and_numpy_reads_it(bundle, tmp_path):
    recording = bundle.recording()
    write_recording(tmp_path / "again.npz", recording)
    assert (tmp_path / "again.npz").read_bytes() == (bundle.path / PARITY).read_bytes()  # the same bytes each time
    with np.load(tmp_path / "again.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {f"in/{n}" for n in recording.inputs} | {f"out/{n}" for n in recording.outputs}
        assert np.array_equal(arrays["in/obs/gyro"], recording.inputs["obs/gyro"])
        assert arrays["out/action"].shape == (256, 1, 2)


def header(shape, dtype="<f4", fortran=False) -> bytes:
    text = f"{{'descr': {dtype!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
    text = text.ljust(-(10 + len(text) + 1) % 64 + len(text)) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_a_header_that_claims_other_data_is_refused(bundle):
    good = members(bundle)
    name, data = "out/value.npy", good["out/value.npy"][-1024:]
    for claim in (
        header((2_500_000_000, 1)),  # 10 GB
        header((256, 2)),
        header((256,)),
        header((256, 1), "<f8"),
        header((256, 1), ">f4"),
        header((256, 1), "|O"),
        header((256, 1), fortran=True),
        b"\x93NUMPY\x02\x00" + header((256, 1))[8:],
        b"\x93NUMPY\x01\x00\xff\xff",
        b"",
        header("__import__('os').getpid()"),
        header("(" * 60 + ")" * 60),
    ):
        refused(bundle, packed(good | {name: claim + data}), "out/value")
    # The planted claims are the only fault: the right header passes.
    read_recording(packed(good | {name: header((256, 1)) + data}), bundle.manifest, origin="")


def test_missing_unknown_and_compressed_keys_are_refused(bundle):
    good = members(bundle)
    refused(bundle, packed({k: v for k, v in good.items() if k != "out/value.npy"}), "out/value")
    refused(bundle, packed({("in/other.npy" if k == "out/value.npy" else k): v for k, v in good.items()}), "in/other")
    refused(bundle, packed(good | {"in/more.npy": b""}), "entries")
    refused(bundle, packed(good, zipfile.ZIP_DEFLATED), "bytes")


def test_values_that_are_not_finite_are_refused(bundle):
    good = members(bundle)
    for value in (np.nan, np.inf):
        bad = good["out/value.npy"][:-4] + np.float32(value).tobytes()
        with pytest.raises(UserError, match="out/value holds values that are not finite"):
            read_recording(packed(good | {"out/value.npy": bad}), bundle.manifest, origin="parity.npz")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_recording_is_refused_or_has_the_right_shapes(bundle, changes):
    raw = bytearray((bundle.path / PARITY).read_bytes())
    for position, value in changes:
        raw[int(position * len(raw))] = value
    try:
        recording = read_recording(io.BytesIO(raw), bundle.manifest, origin="parity.npz")
    except UserError:
        return
    assert isinstance(recording, Recording)
    for tensor in bundle.manifest.inputs():
        assert recording.inputs[tensor.name].shape == (256, *tensor.shape)
