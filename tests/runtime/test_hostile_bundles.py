"""Bundles from an enemy: refused in one line, fast and in little memory, or harmless.

Two enemies: one who can change a bundle's bytes, and one who can write unsigned bundles, whose manifest lists the
hostile files with the right hashes. The second gets as far as the engine.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.manifest import MANIFEST, PARITY, POLICY_OP17, SIGNATURE
from robot_wm.runtime.signature import generate_key, load_private_key, sign
from robot_wm.runtime.start import start_controller
from robot_wm.spec import AgentSpec
from robot_wm_export.bundle_writer import write_zip

FILES = (MANIFEST, PARITY, POLICY_OP17, SIGNATURE)
MAX_MESSAGE = 4100  # characters
MAX_SECONDS = 1.0
MAX_EXTRA_BYTES = 512 * 2**20  # of address space, beyond what the imports take
BOMB_BYTES = 10 * 10**9


def use(path: Path, public_key: Path | None = None) -> str:
    """Do all that a robot does with a bundle; the refusal in words, or "" if there was none."""
    try:
        with Bundle.open(path, public_key) as bundle, start_controller(bundle) as controller:
            bundle.recording()
            controller.enable()
            observation = {field.name: np.zeros(field.shape, field.dtype) for field in bundle.spec.observations}
            for tick in range(3):
                command = controller.step(observation, float(tick))
                assert np.isfinite(command.command).all()
    except UserError as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) <= MAX_MESSAGE, message
        return message
    return ""


def copied(original: Path, folder: Path) -> Path:
    """A copy to change: ``folder/agent.rwm``."""
    return Path(shutil.copytree(original, folder / "agent.rwm"))


def listed(folder: Path) -> Path:
    """List the files as they are now, as one does who can write bundles; the signature goes."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for name in manifest["files"]:
        content = (folder / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    return relisted(folder, manifest)


def relisted(folder: Path, manifest: Any) -> Path:
    """Write a manifest whose spec hash is right."""
    with suppress(ValueError, TypeError, KeyError):  # it may be no spec any more
        manifest["spec_sha256"] = AgentSpec.model_validate(manifest["spec"]).content_hash()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (folder / SIGNATURE).unlink(missing_ok=True)
    return folder


def with_graph(folder: Path, model: onnx.ModelProto) -> Path:
    (folder / POLICY_OP17).write_bytes(model.SerializeToString())
    return listed(folder)


def graph_of(folder: Path) -> onnx.ModelProto:
    return onnx.load_from_string((folder / POLICY_OP17).read_bytes())


def external(name: str, location: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "4")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def replace_one(model: onnx.ModelProto, tensor: TensorProto) -> onnx.ModelProto:
    """The model with ``tensor`` for its constant ``one``."""
    kept = [entry for entry in model.graph.initializer if entry.name != "one"]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, tensor])
    return model


def in_another_file(location: str) -> Callable[[Path], Path]:
    return lambda folder: with_graph(folder, replace_one(graph_of(folder), external("one", location)))


def a_constant_in_another_file(folder: Path) -> Path:
    model = replace_one(graph_of(folder), numpy_helper.from_array(np.float32([1]), "unused"))
    model.graph.node.insert(0, helper.make_node("Constant", [], ["one"], value=external("t", "/etc/passwd")))
    return with_graph(folder, model)


def a_loop_without_end(folder: Path) -> Path:
    model = graph_of(folder)
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("v", TensorProto.FLOAT, [1])],
        [value("on", TensorProto.BOOL, []), value("w", TensorProto.FLOAT, [1])],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.int64(2**62), "times"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32([1]), "seed"))
    replace_one(model, numpy_helper.from_array(np.float32([1]), "unused"))
    model.graph.node.insert(0, helper.make_node("Loop", ["times", "", "seed"], ["one"], body=body))
    return with_graph(folder, model)


def a_function(folder: Path) -> Path:
    model = graph_of(folder)
    node = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(helper.make_function("d", "f", ["x"], ["y"], [node], [helper.make_opsetid("", 17)]))
    return with_graph(folder, model)


def a_huge_input(folder: Path) -> Path:
    model = graph_of(folder)
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 2**40
    return with_graph(folder, model)


def an_input_of_many_axes(folder: Path) -> Path:
    model = graph_of(folder)
    for _ in range(100):
        model.graph.input[1].type.tensor_type.shape.dim.add(dim_value=1)
    return with_graph(folder, model)


def a_huge_tensor_header(folder: Path) -> Path:
    tensor = TensorProto(name="one", data_type=TensorProto.FLOAT, dims=[BOMB_BYTES // 4], raw_data=b"1234")
    return with_graph(folder, replace_one(graph_of(folder), tensor))


def a_huge_constant(folder: Path) -> Path:
    model = replace_one(graph_of(folder), numpy_helper.from_array(np.int64([BOMB_BYTES // 4]), "length"))
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["length"], ["zeros"]))
    model.graph.node.insert(1, helper.make_node("ReduceSum", ["zeros"], ["one"], keepdims=1))
    return with_graph(folder, model)


def another_input_shape(folder: Path) -> Path:
    """It can be broadcast to from what the manifest says, so that copying into it would go well."""
    model = graph_of(folder)
    gyro = next(entry for entry in model.graph.input if entry.name == "obs/gyro")
    gyro.type.tensor_type.shape.dim[0].dim_value = 3
    return with_graph(folder, model)


def names_that_are_no_text(folder: Path) -> Path:
    graph = folder / POLICY_OP17
    graph.write_bytes(graph.read_bytes().replace(b"obs/gyro", b"obs/\xff\xfe\xc7o"))
    return listed(folder)


def the_other_format_of_the_runtime(folder: Path) -> Path:
    (folder / POLICY_OP17).write_bytes(b"\x18\0\0\0ORTM" + bytes(64))
    return listed(folder)


def cut(name: str, keep: float) -> Callable[[Path], Path]:
    def change(folder: Path) -> Path:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * keep)])
        return listed(folder)

    return change


def an_array_that_claims_10_gb(folder: Path) -> Path:
    """One array's NPY header claims 10 GB; the zip around it is sound."""
    entries = {}
    with zipfile.ZipFile(folder / PARITY) as archive:
        for name in archive.namelist():
            entries[name] = archive.read(name)
    shape = f"({BOMB_BYTES // 4}, 1, 1)"
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    first = next(iter(entries))
    entries[first] = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header + entries[first][128:]
    with zipfile.ZipFile(folder / PARITY, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return listed(folder)


def npy_header(text: str) -> Callable[[Path], Path]:
    """The first array's NPY header is ``text``, in the bytes that were the right one's."""

    def change(folder: Path) -> Path:
        content = (folder / PARITY).read_bytes()
        at = content.index(b"\x93NUMPY") + 10
        with zipfile.ZipFile(folder / PARITY) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        assert len(text) <= 118
        first = next(name for name in entries if content.index(name.encode()) < at)
        entries[first] = entries[first][:10] + text.ljust(118).encode() + entries[first][128:]
        with zipfile.ZipFile(folder / PARITY, "w") as archive:
            for name, entry in entries.items():
                archive.writestr(name, entry)
        return listed(folder)

    return change


def claims_in_the_directory(field: bytes, size: int) -> Callable[[Path], Path]:
    """A zip whose directory lies about an entry's size (``field``: which struct members, packed or unpacked)."""

    def change(folder: Path) -> Path:
        archive = write_zip(folder)
        content = bytearray(archive.read_bytes())
        at = content.rindex(b"PK\x01\x02")
        offset = {b"packed": 20, b"unpacked": 24}[field]
        content[at + offset : at + offset + 4] = struct.pack("<L", size)
        archive.write_bytes(content)
        return archive

    return change


def a_bomb_that_is_listed(folder: Path) -> Path:
    """Weights of 2 GB that are all zero, with the right size and hash in the manifest, in a zip of 2 MB."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    name, size = "policy.onnx", 2 * 10**9
    manifest["files"][name] = {"sha256": "0" * 64, "size_bytes": size}
    relisted(folder, manifest)
    archive = folder.parent / "bomb.rwm.zip"
    with zipfile.ZipFile(archive, "w", compression=zipfile.ZIP_DEFLATED) as target:
        for entry in sorted(os.listdir(folder)):
            target.write(folder / entry, entry)
        with target.open(name, "w") as stream:
            for _ in range(100):
                stream.write(bytes(size // 1000))
    raw = bytearray(archive.read_bytes())
    at = raw.rindex(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<L", size)
    archive.write_bytes(raw)
    return archive


def entries_that_overlap(folder: Path) -> Path:
    """All entries of the directory point to the first one's data."""
    archive = write_zip(folder)
    with zipfile.ZipFile(archive) as source:
        largest = max(entry.compress_size for entry in source.infolist())
    content = bytearray(archive.read_bytes())
    at = -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
        content[at + 20 : at + 28] = struct.pack("<LL", largest, largest)
    archive.write_bytes(content)
    return archive


def a_listing_of_10_gb(folder: Path) -> Path:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][PARITY]["size_bytes"] = BOMB_BYTES
    return relisted(folder, manifest)


def a_sparse_file_of_10_gb(folder: Path) -> Path:
    with (folder / POLICY_OP17).open("r+b") as file:
        file.truncate(BOMB_BYTES)
    return folder


def manifest_text(change: Callable[[str], str]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / MANIFEST).write_text(change((folder / MANIFEST).read_text()))
        (folder / SIGNATURE).unlink()
        return folder

    return write


def at(*path: str | int, value: Any) -> Callable[[Path], Path]:
    """One value of the manifest replaced; the spec's hash is right again afterwards."""

    def change(folder: Path) -> Path:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        parent = manifest
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value
        return relisted(folder, manifest)

    return change


def without_end(text: str) -> Callable[[Path], Path]:
    return manifest_text(lambda raw: raw.replace('"steps": 7', f'"steps": {text}'))


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    # name: (what is done to a copy of a sound bundle, what the refusal must name)
    "external data, absolute": (in_another_file("/etc/passwd"), "another file"),
    "external data, above": (in_another_file("../../../../../../etc/passwd"), "another file"),
    "external data, beside": (in_another_file(PARITY), "another file"),
    "external data, a device": (in_another_file("/dev/zero"), "another file"),
    "external data in a node": (a_constant_in_another_file, "another file"),
    "loop": (a_loop_without_end, "a loop or a branch"),
    "function": (a_function, "functions"),
    "input of 4 TB": (a_huge_input, "inputs and outputs have more than"),
    "input of 102 axes": (an_input_of_many_axes, "fixed float32"),
    "tensor header of 10 GB": (a_huge_tensor_header, "cannot load"),
    "constant of 10 GB": (a_huge_constant, "fails on a recorded tick"),
    "input of another shape": (another_input_shape, "obs/gyro has shape (3, 9), not (1, 9)"),
    "names that are no text": (names_that_are_no_text, "cannot load"),
    "ORT format": (the_other_format_of_the_runtime, "not an ONNX model"),
    "graph cut in half": (cut(POLICY_OP17, 0.5), "cut short"),
    "graph cut to nothing": (cut(POLICY_OP17, 0.0), "not an ONNX model"),
    "recording cut": (cut(PARITY, 0.7), "cut short"),
    "array of 10 GB": (an_array_that_claims_10_gb, "(2500000000, 1, 1), expected"),
    "array header that calls": (npy_header("__import__('os').abort()"), "damaged header"),
    "array header without end": (npy_header("{'descr': ["), "damaged header"),
    "array header, nested": (npy_header("(" * 118), "damaged header"),
    "array of objects": (npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (256, 1, 6), }"), "is object"),
    "array of negative length": (
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (256, -1, -6), }"),
        "(256, -1, -6), expected",
    ),
    "zip entry that claims 4 GB": (claims_in_the_directory(b"unpacked", 2**32 - 2), "a zip bomb"),
    "zip entry that takes 4 GB": (claims_in_the_directory(b"packed", 2**32 - 2), "overlap"),
    "zip bomb": (a_bomb_that_is_listed, "a zip bomb"),
    "zip entries that overlap": (entries_that_overlap, "overlap"),
    "listing of 10 GB": (a_listing_of_10_gb, "size_bytes"),
    "sparse file of 10 GB": (a_sparse_file_of_10_gb, "has more bytes, listed"),
    "JSON cut": (manifest_text(lambda raw: raw[:-20]), "Invalid JSON"),
    "JSON nested": (without_end('{"a":' * 100_000 + "1" + "}" * 100_000), "recursion limit"),
    "JSON brackets": (manifest_text(lambda raw: "[" * 2_000_000), "recursion limit"),
    "JSON huge integer": (without_end("9" * 3_000_000), "Invalid JSON"),
    "JSON huge float": (without_end("1e99999"), "steps"),
    "JSON NaN": (manifest_text(lambda raw: raw.replace('"clip": 3.0', '"clip": NaN')), "clip"),
    "JSON key twice": (
        manifest_text(lambda raw: raw.replace('"kind"', '"kind": "muzero", "kind"')),
        "kind is there twice",
    ),
    "JSON of millions": (without_end("[" + "0," * 1_900_000 + "0]"), "more than"),
    "JSON of wrong objects": (at("state", value=[{}] * 11_000), "state.0.name"),
    "JSON of wrong keys": (at("files", value={f"/{i}": 0 for i in range(11_000)}), "files./0"),
    "JSON too large": (without_end('"' + "x" * 2**22 + '"'), "larger than"),
    "terminal codes": (at("files", value={"\x1b[2J\n": 0}), "\\x1b[2J"),
    "endless name": (at("spec", "action", "x" * 100_000, value=1), "xxx"),
    "rates beyond doubles": (at("spec", "control_rate_hz", value=1e-307), "multiple"),
    "scale beyond floats": (at("spec", "action", "scale", value=[1e300]), "float32"),
    "state of another shape": (at("state", 2, "shape", value=[1, 7]), "action"),
    "logits of one class": (at("outputs", 3, "shape", value=[1, 6, 1]), "post_logits"),
}
# Runs each case under a limit of address space and says what came of it.
JUDGE = """
import importlib.util, json, resource, sys, time
spec = importlib.util.spec_from_file_location("hostile", sys.argv[1])
hostile = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hostile)
hostile.use(hostile.Path(sys.argv[2]))  # imports and first allocations are not the enemy's
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + hostile.MAX_EXTRA_BYTES,) * 2)
for line in sys.stdin:
    begin = time.perf_counter()
    message = hostile.use(hostile.Path(line.strip()))
    print(json.dumps([message, time.perf_counter() - begin]), flush=True)
"""


@pytest.fixture(scope="module")
def judge(signed_original):
    """Ask another process, whose memory is limited, what it makes of a bundle: (refusal, seconds)."""
    process = subprocess.Popen(
        [sys.executable, "-c", JUDGE, __file__, str(signed_original.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdin
    assert process.stdout

    def ask(path: Path) -> tuple[str, float]:
        print(path, file=process.stdin, flush=True)
        answer = process.stdout.readline()
        assert answer, f"the process died: {process.wait(10)}"
        message, seconds = json.loads(answer)
        return message, seconds

    yield ask
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdout.close()


@pytest.mark.parametrize("case", HOSTILE)
def test_it_is_refused_fast_and_in_little_memory(case, signed_bundle, judge):
    change, naming = HOSTILE[case]
    hostile = change(signed_bundle.folder)
    message, seconds = judge(hostile)
    assert naming in message
    if seconds >= MAX_SECONDS:  # once more: the machine may have been busy with something else
        _, seconds = judge(hostile)
    assert seconds < MAX_SECONDS


def test_the_same_without_a_change_is_accepted(signed_bundle, judge):
    assert judge(signed_bundle.folder)[0] == ""
    assert judge(listed(signed_bundle.folder))[0] == ""
    assert judge(write_zip(signed_bundle.folder))[0] == ""


def test_only_the_right_signature_on_these_very_bytes_is_accepted(signed_bundle, tmp_path):
    folder, key = signed_bundle.folder, signed_bundle.public_key
    assert use(folder, key) == ""
    other_key = generate_key(tmp_path / "other.pem")
    assert "not by the configured public key" in use(folder, other_key)
    # Signed by the right key, but for another manifest.
    stranger = copied(folder, tmp_path / "stranger")
    (stranger / MANIFEST).write_bytes((stranger / MANIFEST).read_bytes() + b"\n")
    assert "not by the configured public key" in use(stranger, key)
    (stranger / SIGNATURE).write_bytes(
        sign((stranger / MANIFEST).read_bytes(), load_private_key(signed_bundle.private_key))
    )
    assert use(stranger, key) == ""
    shutil.copy(stranger / SIGNATURE, folder / SIGNATURE)
    assert "not by the configured public key" in use(folder, key)
    # Made hostile and signed by its author.
    listed(stranger)
    (stranger / SIGNATURE).write_bytes(
        sign((stranger / MANIFEST).read_bytes(), load_private_key(tmp_path / "other.pem"))
    )
    assert "not by the configured public key" in use(stranger, key)
    (stranger / SIGNATURE).unlink()
    assert "not signed" in use(stranger, key)
    assert use(stranger) == ""


def mutations(content: bytes) -> st.SearchStrategy[bytes]:
    """Bytes with a few flips, cuts, doublings, splices and fills."""
    size = len(content)
    spans = st.tuples(st.integers(0, size - 1), st.sampled_from([1, 2, 4, 8, 64, 1000]))

    def apply(steps: list[tuple[str, tuple[int, int], int]]) -> bytes:
        changed = bytearray(content)
        for kind, (start, length), value in steps:
            part = changed[start : start + length]
            changed[start : start + length] = {
                "flip": bytes(byte ^ (value or 1) for byte in part[:1]) + part[1:],
                "cut": b"",
                "end": b"",
                "double": part * 2,
                "splice": content[value * size // 256 :][: len(part)],
                "fill": bytes([value]) * len(part),
            }[kind]
            if kind == "end":
                del changed[start:]
        return bytes(changed)

    kinds = st.sampled_from(["flip", "flip", "cut", "end", "double", "splice", "fill"])
    return st.lists(st.tuples(kinds, spans, st.integers(0, 255)), min_size=1, max_size=4).map(apply)


FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(data=st.data(), name=st.sampled_from([PARITY, POLICY_OP17]))
def test_whatever_bytes_are_listed_it_is_refused_or_harmless(signed_original, tmp_path_factory, data, name):
    folder = copied(signed_original.folder, tmp_path_factory.mktemp("fuzz"))
    (folder / name).write_bytes(data.draw(mutations((folder / name).read_bytes())))
    use(listed(folder))


@FUZZ
@given(data=st.data(), name=st.sampled_from(FILES))
def test_whatever_bytes_are_changed_it_is_refused_or_the_same(signed_original, tmp_path_factory, data, name):
    folder = copied(signed_original.folder, tmp_path_factory.mktemp("fuzz"))
    original = (folder / name).read_bytes()
    (folder / name).write_bytes(data.draw(mutations(original)))
    changed = (folder / name).read_bytes() != original
    for path in (folder, write_zip(folder)):
        assert bool(use(path, signed_original.public_key)) == changed


@FUZZ
@given(data=st.data())
def test_whatever_becomes_of_a_zip_its_content_is_refused_or_the_same(signed_original, tmp_path_factory, data):
    folder = copied(signed_original.folder, tmp_path_factory.mktemp("fuzz"))
    archive = write_zip(folder)
    archive.write_bytes(data.draw(mutations(archive.read_bytes())))
    if use(archive, signed_original.public_key) == "":
        with Bundle.open(archive, signed_original.public_key) as bundle:
            for name in FILES:
                assert (bundle.path / name).read_bytes() == (folder / name).read_bytes()


@FUZZ
@given(data=st.data())
def test_a_manifest_with_a_sound_spec_hash_is_refused_or_harmless(signed_original, tmp_path_factory, data):
    folder = copied(signed_original.folder, tmp_path_factory.mktemp("fuzz"))
    manifest = json.loads((folder / MANIFEST).read_bytes())
    values = [None, True, 0, 1, -1, 2, 3, 64, 2**26, 2**63, 1e300, -1e300, 1e-300, 0.5, "", "\n", "../x", [], {}]
    values += [[0], [1, 4], [1, 1, 1], [1e300, -1e300], "action", "obs/gyro", "effort", "discrete", "command"]
    for _ in range(data.draw(st.integers(1, 3))):
        parent, key = manifest, None
        while isinstance(parent, (dict, list)) and parent:
            holder = parent
            keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
            key = data.draw(st.sampled_from(list(keys)))
            parent = holder[key]
            if data.draw(st.integers(0, 3)) == 0:
                break
        if key is not None:
            holder[key] = copy.deepcopy(data.draw(st.sampled_from(values)))
    use(relisted(folder, manifest))
