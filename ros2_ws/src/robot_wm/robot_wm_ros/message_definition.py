"""A message type's definition as text, from its Python class: where a robot runs, its .msg file may not be."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

_NAMES = {"double": "float64", "float": "float32", "boolean": "bool", "octet": "byte"}
_SEQUENCE, _ARRAY = re.compile(r"sequence<(.+?)(?:, (\d+))?>"), re.compile(r"(.+)\[(\d+)\]")
_TEXT = re.compile(r"(w?string)<(\d+)>")


def message_class(type_name: str) -> Any:
    """The class of ``package/msg/Name``; ImportError where this machine does not have it."""
    package, _, name = type_name.partition("/msg/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except (AttributeError, ValueError) as error:
        raise ImportError(f"no message {type_name}") from error


def definition(message: Any) -> str:
    """Its fields in ROS 2's own notation (ros2msg), the types that it is made of included; constants are left out."""
    needed: dict[str, str] = {}
    text = _fields(message, needed)
    return text + "".join(f"{'=' * 80}\nMSG: {name}\n{body}" for name, body in needed.items())


def _fields(message: Any, needed: dict[str, str]) -> str:
    lines = []
    for field, kind in message.get_fields_and_field_types().items():
        base, suffix = kind, ""
        if found := _SEQUENCE.fullmatch(kind):
            base, suffix = found[1], f"[<={found[2]}]" if found[2] else "[]"
        elif found := _ARRAY.fullmatch(kind):
            base, suffix = found[1], f"[{found[2]}]"
        if "/" in base and base not in needed:
            needed[base] = ""  # its place is before the types that it is made of itself
            needed[base] = _fields(message_class(base.replace("/", "/msg/")), needed)
        if found := _TEXT.fullmatch(base):
            base = f"{found[1]}<={found[2]}"
        lines.append(f"{_NAMES.get(base, base)}{suffix} {field}\n")
    return "".join(lines)
