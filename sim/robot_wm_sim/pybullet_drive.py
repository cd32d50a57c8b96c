"""A Drive in plain numbers: for a dozen motors, at every physics step, Python's arithmetic beats NumPy's."""

from __future__ import annotations

from typing import NamedTuple

from robot_wm_sim.drive import Drive


class PlainDrive(NamedTuple):
    """What ideal drives go by, [M] each, SI: at time t clip(target + kp * ramp * t - kp * q - kd * q', -limit, limit).

    That is `Drive`'s equation with all that hangs on no joint taken together.
    """

    target: list[float]
    ramp: list[float]  # speed of the set-points
    kp: list[float]
    kd: list[float]
    limit: list[float]
    has_gains: bool
    moves: bool

    @classmethod
    def of(cls, drive: Drive) -> PlainDrive:
        """A Drive as it is now; nothing of it is kept."""
        kps, kds, ramp = drive.kp.tolist(), drive.kd.tolist(), drive.velocity.tolist()
        target = [
            e + kp * p + kd * v
            for e, p, v, kp, kd in zip(drive.effort.tolist(), drive.position.tolist(), ramp, kps, kds)  # noqa: B905
        ]
        return cls(target, ramp, kps, kds, drive.limit.tolist(), any(kps) or any(kds), any(ramp))
