"""Which stored episodes lie where in a sampler's streams: what the store holds, nothing else needs to keep.

Shape letters: E episodes, each whole or a piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm.replay.rings import Array, StreamRings

_DIGEST, _WHERE = "placed/digest", "placed/where"


@dataclass(frozen=True)
class Placed:
    """A stored episode, or a piece of one, at consecutive positions of a stream."""

    digest: str  # hex, as the store tells it
    stream: int
    begin: int  # position of its first step
    steps: int
    age: int  # steps before its first one in the stream's episode: 0 where it begins one

    @property
    def end(self) -> int:
        """Position behind its last step."""
        return self.begin + self.steps


class Places:
    """The stored episodes of which any step may still be in the rings."""

    def __init__(self, rings: StreamRings) -> None:
        self._rings = rings
        self._placed: list[Placed] = []

    def add(self, digest: str, *, stream: int, steps: int) -> None:
        """Say that the newest ``steps`` of a stream are the stored episode with that digest."""
        end, age = int(self._rings.count[stream]), int(self._rings.ages[stream])
        self._placed.append(Placed(digest, stream, end - steps, steps, age - steps))

    def placed(self) -> list[Placed]:
        """Those of which a step is still there, in the order in which they came."""
        oldest = (self._rings.count - self._rings.size).tolist()
        self._placed = [placed for placed in self._placed if placed.end > oldest[placed.stream]]
        return self._placed

    def among(self, digests: Set[str]) -> list[Placed]:
        """Those of which a step is still there and whose digest is one of these."""
        return [placed for placed in self.placed() if placed.digest in digests]

    def state_dict(self, digests: Set[str]) -> dict[str, Array]:
        """Those ``among`` the digests, as plain arrays."""
        placed = self.among(digests)
        joined = bytes.fromhex("".join(item.digest for item in placed))
        where = [(item.stream, item.begin, item.steps, item.age) for item in placed]
        return {
            _DIGEST: np.frombuffer(joined, np.uint8).reshape(len(placed), -1 if placed else 0),  # [E, 32]
            _WHERE: np.array(where, np.int64).reshape(len(placed), 4),
        }

    def load_state_dict(self, state: Mapping[str, Array]) -> list[Placed]:
        """Continue from a saved state; returns what is placed now."""
        where = state[_WHERE].tolist()
        self._placed = [Placed(digest, *at) for digest, at in zip(digests_of(state), where, strict=True)]
        return self._placed


def digests_of(state: Mapping[str, Array], prefix: str = "") -> list[str]:
    """Digests in a saved state; none where it says nothing of them. ``prefix`` is before its names."""
    return [digest.tobytes().hex() for digest in state.get(prefix + _DIGEST, ())]


def rows_of(placed: Iterable[Placed], rings: StreamRings) -> NDArray[np.bool_]:
    """Mask [rows] of the rings' rows at which steps of these episodes lie."""
    inside = np.zeros(rings.streams * rings.size, np.bool_)
    for item in placed:
        live = np.arange(max(item.begin, int(rings.count[item.stream]) - rings.size), item.end, dtype=np.int64)
        inside[rings.slots(item.stream, live)] = True
    return inside
