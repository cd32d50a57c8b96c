"""Graphs from an enemy who can write unsigned bundles: refused in one line, fast and in little memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hostile import BOMB_BYTES, cut, listed
from onnx import TensorProto, helper, numpy_helper

from robot_wm.runtime.manifest import PARITY, POLICY_OP17


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


def a_size_that_comes_in(folder: Path) -> Path:
    """Nothing on zeros, terabytes on an observation."""
    model = replace_one(graph_of(folder), numpy_helper.from_array(np.float32([1]), "unused"))
    model.graph.node.insert(0, helper.make_node("Cast", ["is_first"], ["size"], to=TensorProto.INT64))
    model.graph.node.insert(1, helper.make_node("Expand", ["unused", "size"], ["many"]))
    model.graph.node.insert(2, helper.make_node("ReduceMax", ["many"], ["one"], axes=[0], keepdims=1))
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
    "constant of 10 GB": (a_huge_constant, "in 512 MiB: [ONNXRuntimeError]"),
    "size that comes in": (a_size_that_comes_in, "Expand makes a tensor whose size depends on what comes in"),
    "input of another shape": (another_input_shape, "obs/gyro has shape (3, 9), not (1, 9)"),
    "names that are no text": (names_that_are_no_text, "cannot load"),
    "ORT format": (the_other_format_of_the_runtime, "not an ONNX model"),
    "graph cut in half": (cut(POLICY_OP17, 0.5), "cut short"),
    "graph cut to nothing": (cut(POLICY_OP17, 0.0), "not an ONNX model"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_it_is_refused_fast_and_in_little_memory(case, require_refusal):
    require_refusal(*HOSTILE[case])
