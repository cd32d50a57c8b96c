"""What an ONNX file may hold before it is given to an engine: a plain graph that stands on its own.

A tick graph needs no loops, no branches and no other files. Without them a graph computes every node once, so it
ends, and it reads nothing from the robot's disk. Nor does it need a tensor whose size depends on what comes in: without
one a tick costs what every tick costs. Engines are not asked to refuse such things: their versions differ.
This walks protobuf's wire format (https://protobuf.dev/programming-guides/encoding) over the messages of onnx.proto;
weights are skipped, not read.
"""

from __future__ import annotations

from collections.abc import Iterator

from robot_wm.errors import UserError

# A tree search unrolled into one graph has about 13,000 nodes of ten fields.
_MAX_FIELDS = 500_000
_VARINT, _I64, _BYTES, _I32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10

# Message -> field number -> the message in it. Only these are entered.
_MESSAGES = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor", 11: "input"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor"},
    "tensor": {},
    "input": {},
}
# Message -> field number -> why it is refused.
_REFUSED = {
    "model": {20: "training steps", 25: "functions"},
    "graph": {15: "sparse tensors"},
    "node": {},
    "attribute": {6: "a loop or a branch", 11: "a loop or a branch", 22: "sparse tensors", 23: "sparse tensors"},
    "tensor": {13: "a tensor in another file"},
    "input": {},
}
# What makes a tensor as large as another one says: operator -> inputs that say it. Others make what comes in no larger.
_SIZING = {
    "AffineGrid": (1,), "BlackmanWindow": (0,), "CenterCropPad": (1,), "Col2Im": (1, 2), "ConstantOfShape": (0,),
    "DFT": (1,), "Expand": (1,), "HammingWindow": (0,), "HannWindow": (0,), "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4), "OneHot": (1,), "Pad": (1,), "Range": (0, 1, 2), "Resize": (1, 2, 3),
    "STFT": (1, 3), "Tile": (1,), "Upsample": (1,),
}  # fmt: skip
_KNOWS_SHAPES = frozenset({"Shape", "Size"})  # give nothing of their input's values
_OPERATOR, _DOMAIN, _NAME = 4, 7, 1
_DATA_LOCATION = 14  # of a tensor; 0: in this file


def require_plain_graph(content: bytes, *, origin: str) -> None:
    """Refuse (UserError naming ``origin``) what is not one self-contained ONNX graph without control flow."""
    view = memoryview(content)
    budget = _MAX_FIELDS
    nodes: list[_Node] = []
    given: list[str] = []
    pending = [("model", 0, len(view))]
    has_graph = False
    while pending:
        message, start, end = pending.pop()
        has_graph |= message == "graph"
        node = _Node()
        for number, value, begin, stop in _fields(view, start, end, origin):
            budget -= 1
            if budget < 0:
                raise UserError(f"{origin}: more than {_MAX_FIELDS} fields; no tick graph is that large")
            if number in _REFUSED[message] or (message == "tensor" and number == _DATA_LOCATION and value):
                what = _REFUSED[message].get(number, "a tensor in another file")
                raise UserError(f"{origin}: holds {what}, which a tick graph must not")
            if message == "node" and begin >= 0:
                node.take(number, view, begin, stop)
            if message == "input" and number == _NAME and begin >= 0:
                given.append(_text(view, begin, stop))
            if begin >= 0 and number in _MESSAGES[message]:
                pending.append((_MESSAGES[message][number], begin, stop))
        if message == "node":
            nodes.append(node)
    if not has_graph:
        raise UserError(f"{origin}: not an ONNX model")
    _require_known_sizes(nodes, given, origin)


class _Node:
    """One node's operator and the names of its tensors."""

    def __init__(self) -> None:
        self.operator = self.domain = ""
        self.inputs: list[str] = []
        self.outputs: list[str] = []

    def take(self, number: int, view: memoryview, begin: int, stop: int) -> None:
        if number in (1, 2):
            (self.inputs if number == 1 else self.outputs).append(_text(view, begin, stop))
        elif number == _OPERATOR:
            self.operator = _text(view, begin, stop)
        elif number == _DOMAIN:
            self.domain = _text(view, begin, stop)


def _require_known_sizes(nodes: list[_Node], given: list[str], origin: str) -> None:
    """Refuse operators that are not ONNX's own, and tensors whose size depends on the values of an input."""
    readers: dict[str, list[_Node]] = {}
    for node in nodes:
        if node.domain not in ("", "ai.onnx"):
            raise UserError(f"{origin}: operator {node.domain[:80]}.{node.operator[:80]} is not one of ONNX")
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    pending, reached = list(given), set(given)
    while pending:
        name = pending.pop()
        for node in readers.get(name, ()):
            if node.operator in _KNOWS_SHAPES:
                continue
            if any(node.inputs[place : place + 1] == [name] for place in _SIZING.get(node.operator, ())):
                raise UserError(f"{origin}: {node.operator} makes a tensor whose size depends on what comes in")
            fresh = [output for output in node.outputs if output not in reached]
            reached.update(fresh)
            pending += fresh


def _text(view: memoryview, begin: int, stop: int) -> str:
    return bytes(view[begin:stop]).decode(errors="replace")


def _fields(view: memoryview, start: int, end: int, origin: str) -> Iterator[tuple[int, int, int, int]]:
    """Each field of a message: number, value (of a varint), begin and end of its bytes (-1 if it has none)."""
    at = start
    while at < end:
        tag, at = _varint(view, at, end, origin)
        number, kind = tag >> 3, tag & 7
        value, begin, stop = 0, -1, -1
        if kind == _VARINT:
            value, at = _varint(view, at, end, origin)
        elif kind == _BYTES:
            size, begin = _varint(view, at, end, origin)
            at = stop = begin + size
        elif kind in (_I64, _I32):
            at += 8 if kind == _I64 else 4
        else:
            raise UserError(f"{origin}: not an ONNX model, or damaged at byte {at}")
        if at > end:
            raise UserError(f"{origin}: cut short: a field ends {at - end} bytes behind its message")
        yield number, value, begin, stop


def _varint(view: memoryview, at: int, end: int, origin: str) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if at + index >= end:
            break
        byte = view[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise UserError(f"{origin}: not an ONNX model, or damaged at byte {at}")
