"""Protobuf's wire format by hand: what the walk enters, skips and refuses."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from robot_wm.errors import UserError
from robot_wm.runtime.graph_check import require_plain_graph


def field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return (
        bytes([number << 3 | 2, len(content)])
        if number < 16
        else bytes([0x80 | (number & 15) << 3 | 2, 1, len(content)])
    )


def message(number: int, content: bytes) -> bytes:
    return field(number, content) + content


def refused(content: bytes) -> str:
    with pytest.raises(UserError) as caught:
        require_plain_graph(content, origin="policy.onnx")
    assert str(caught.value).startswith("policy.onnx: ")
    return str(caught.value)


def test_our_graphs_pass(make_agent, make_spec):
    require_plain_graph(make_agent(make_spec()).graph, origin="")


@pytest.mark.parametrize(
    ("content", "naming"),
    [
        (b"", "not an ONNX model"),
        (b"\x08\x08", "not an ONNX model"),  # an ir_version alone
        (b"\x0b", "damaged at byte 1"),  # a group
        (b"\xff" * 20, "damaged at byte 0"),  # a number without end
        (b"\x3a\x7f\x00", "cut short"),  # a graph of 127 bytes
        (b"\x39\x00", "cut short"),  # 8 bytes announced
        (message(7, b"\x0a\xff\xff\xff\xff\x0f"), "cut short"),  # a node of 4 GB inside
        (message(7, b"") + message(25, b""), "functions"),
        (message(7, b"") + message(20, b""), "training steps"),
        (message(7, message(15, b"")), "sparse"),
        (message(7, message(5, b"\x70\x01")), "another file"),  # data_location = EXTERNAL
        (message(7, message(5, b"\x70\x81\x80\x80\x80\x10")), "another file"),  # the same in 33 bits
        (message(7, message(5, message(13, b""))), "another file"),
        (message(7, message(1, message(5, message(6, b"")))), "a loop or a branch"),
        (message(7, message(1, message(5, message(11, b"")))), "a loop or a branch"),
        (message(7, message(1, message(5, message(10, b"\x70\x01")))), "another file"),
        (message(7, b"") + message(7, message(5, b"\x70\x01")), "another file"),  # protobuf joins the two
        (message(7, b"\x08\x01" * 60) * 9000, "more than 500000 fields"),
    ],
)
def test_what_is_not_plain_is_refused(content, naming):
    assert naming in refused(content)


def test_weights_are_skipped_and_not_taken_for_messages():
    # The raw data of a tensor, here the bytes of a refused field, is data.
    tensor = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[4], raw_data=message(13, b"ab"))
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    value = helper.make_tensor_value_info("y", TensorProto.UINT8, [4])
    model = helper.make_model(helper.make_graph([node], "g", [], [value], [tensor]))
    require_plain_graph(model.SerializeToString(), origin="")


def graph_with(*nodes, **constants: np.ndarray) -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        list(nodes),
        "g",
        [value("x", TensorProto.FLOAT, [2])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(constant, name) for name, constant in constants.items()],
    )
    return helper.make_model(graph).SerializeToString()


CAST = helper.make_node("Cast", ["x"], ["n"], to=TensorProto.INT64)
DOUBLE = helper.make_node("Add", ["n", "n"], ["s"])


@pytest.mark.parametrize(
    ("nodes", "operator"),
    [
        ((CAST, DOUBLE, helper.make_node("Expand", ["one", "s"], ["y"])), "Expand"),
        ((helper.make_node("Expand", ["one", "s"], ["y"]), DOUBLE, CAST), "Expand"),  # in any order
        ((CAST, helper.make_node("ConstantOfShape", ["n"], ["y"])), "ConstantOfShape"),
        ((CAST, helper.make_node("Tile", ["one", "n"], ["y"])), "Tile"),
        ((CAST, helper.make_node("Pad", ["one", "n"], ["y"])), "Pad"),
        ((helper.make_node("Resize", ["one", "", "x"], ["y"]),), "Resize"),
        ((helper.make_node("Range", ["zero", "x", "one"], ["y"]),), "Range"),
        ((helper.make_node("OneHot", ["one", "x", "values"], ["y"]),), "OneHot"),
    ],
)
def test_a_size_that_depends_on_an_input_is_refused(nodes, operator):
    content = graph_with(*nodes, one=np.float32([1]))
    assert f"{operator} makes a tensor whose size depends on what comes in" in refused(content)


@pytest.mark.parametrize(
    "nodes",
    [
        (helper.make_node("Expand", ["x", "side"], ["y"]),),  # the size is a constant, what is repeated comes in
        (helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Expand", ["one", "s"], ["y"])),
        (helper.make_node("Reshape", ["x", "side"], ["y"]),),
    ],
)
def test_a_size_that_is_fixed_passes(nodes):
    require_plain_graph(graph_with(*nodes, one=np.float32([1]), side=np.int64([2, 2])), origin="")


def test_an_operator_of_another_domain_is_refused():
    node = helper.make_node("BeamSearch", ["x"], ["y"], domain="com.microsoft")
    assert "operator com.microsoft.BeamSearch is not one of ONNX" in refused(graph_with(node))
