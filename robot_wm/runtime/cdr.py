"""ROS 2 messages of fixed length as NumPy records: who writes a message writes into its members.

Where no string and no sequence changes its length, every member of a serialised message has a fixed place, and so a
message can be made ahead and filled in place. The encoding is CDR as ROS 2 puts it on the wire and into files (OMG
DDSI-RTPS 2.5, 10.2: CDR_LE): four bytes that say so, then each number aligned to its own size, counted from behind
these four bytes. Arrays of fixed length follow without a length; strings and sequences have theirs before them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Records = NDArray[np.void]

_ENCAPSULATION = "encapsulation"
_CDR_LE = (0, 1, 0, 0)


@dataclass(frozen=True)
class Member:
    """One number or array of a message; members of nested messages have dotted names."""

    name: str
    dtype: str  # little endian, such as "<f4"
    shape: tuple[int, ...] = ()
    constant: Any = field(default=None)  # what every message holds; None: filled message by message


def text(name: str, value: str) -> tuple[Member, Member]:
    """A string that is the same in every message: its length, then UTF-8 and a zero byte."""
    raw = value.encode()
    return Member(f"{name}.length", "<u4", constant=len(raw) + 1), Member(name, f"S{len(raw) + 1}", constant=raw)


def header(name: str, frame: str = "") -> tuple[Member, ...]:
    """A ``std_msgs/Header``: ``<name>.stamp.sec``, ``<name>.stamp.nanosec`` and a frame that stays."""
    return (*stamp(f"{name}.stamp"), *text(f"{name}.frame_id", frame))


def stamp(name: str) -> tuple[Member, Member]:
    """A ``builtin_interfaces/Time``."""
    return Member(f"{name}.sec", "<i4"), Member(f"{name}.nanosec", "<u4")


class MessageLayout:
    """Where the members of one message type lie; ``dtype`` is the whole serialised message."""

    def __init__(self, members: Iterable[Member]) -> None:
        names, formats, offsets = [_ENCAPSULATION], [np.dtype(("u1", 4))], [0]
        constants: dict[str, Any] = {_ENCAPSULATION: _CDR_LE}
        end = 4
        for member in members:
            base = np.dtype(member.dtype)
            size = 1 if base.kind == "S" else base.itemsize
            begin = end + -(end - 4) % size
            kind = np.dtype((base, member.shape))
            names.append(member.name)
            formats.append(kind)
            offsets.append(begin)
            end = begin + kind.itemsize
            if member.constant is not None:
                constants[member.name] = member.constant
        self.dtype: np.dtype[np.void] = np.dtype(
            {"names": names, "formats": formats, "offsets": offsets, "itemsize": end}
        )
        self._constants: Mapping[str, Any] = constants

    def empty(self, count: int) -> Records:
        """Messages [count] whose constants are there and whose other members are zero."""
        records = np.zeros(count, self.dtype)
        for name, value in self._constants.items():
            records[name] = value
        return records

    def read(self, messages: Sequence[bytes]) -> Records:
        """Serialised messages as records, read-only; ValueError for one that cannot be of this type."""
        for message in messages:
            if len(message) != self.dtype.itemsize or tuple(message[:4]) != _CDR_LE:
                raise ValueError(f"a message of {len(message)} bytes, CDR_LE of {self.dtype.itemsize} expected")
        return np.frombuffer(b"".join(messages), self.dtype)
