"""What an ONNX file may hold before it is given to an engine: a plain graph that stands on its own.

A tick graph needs no loops, no branches and no other files. Without them a graph computes every node once, so it
ends, and it reads nothing from the robot's disk. Engines are not asked to refuse such things: their versions differ.
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
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor"},
    "tensor": {},
}
# Message -> field number -> why it is refused.
_REFUSED = {
    "model": {20: "training steps", 25: "functions"},
    "graph": {15: "sparse tensors"},
    "node": {},
    "attribute": {6: "a loop or a branch", 11: "a loop or a branch", 22: "sparse tensors", 23: "sparse tensors"},
    "tensor": {13: "a tensor in another file"},
}
_DATA_LOCATION = 14  # of a tensor; 0: in this file


def require_plain_graph(content: bytes, *, origin: str) -> None:
    """Refuse (UserError naming ``origin``) what is not one self-contained ONNX graph without control flow."""
    view = memoryview(content)
    budget = _MAX_FIELDS
    pending = [("model", 0, len(view))]
    has_graph = False
    while pending:
        message, start, end = pending.pop()
        has_graph |= message == "graph"
        for number, value, begin, stop in _fields(view, start, end, origin):
            budget -= 1
            if budget < 0:
                raise UserError(f"{origin}: more than {_MAX_FIELDS} fields; no tick graph is that large")
            if number in _REFUSED[message] or (message == "tensor" and number == _DATA_LOCATION and value):
                what = _REFUSED[message].get(number, "a tensor in another file")
                raise UserError(f"{origin}: holds {what}, which a tick graph must not")
            if begin >= 0 and number in _MESSAGES[message]:
                pending.append((_MESSAGES[message][number], begin, stop))
    if not has_graph:
        raise UserError(f"{origin}: not an ONNX model")


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
