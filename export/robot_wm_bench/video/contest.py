"""What each contender makes of each test, and how they compare. Shape letters: N chunks, R rates of a programme."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot_wm.errors import UserError
from robot_wm_worlds.video import plans
from robot_wm_worlds.video.env import RateControlEnv
from robot_wm_worlds.video.link import OVERSHOOT, Link, underflows
from robot_wm_worlds.video.programme import Programme, kept_rate

ANCHOR = "constant quantiser"  # what shares of the oracle's gain are counted from
ORACLE = "oracle"
Planner = Callable[[RateControlEnv, int], plans.Plan]  # of a test by its number


@dataclass(frozen=True)
class Outcome:
    """One programme at one target by one contender."""

    target_bps: float
    rate_bps: float
    vmaf: float  # mean over chunks
    worst_vmaf: float  # of a chunk
    psnr_db: float
    underflows: int  # chunks

    @classmethod
    def of(cls, target_bps: float, sizes: Sequence[int], vmaf: Any, psnr_db: Any) -> Outcome:
        """From each chunk's bytes, VMAF and PSNR, [N]."""
        late = underflows(Link.of(target_bps, len(sizes)), sizes)
        rate = kept_rate(float(sum(sizes)), len(sizes))
        return cls(target_bps, rate, float(np.mean(vmaf)), float(np.min(vmaf)), float(np.mean(psnr_db)), late)

    @property
    def overshoot(self) -> float:
        """Share of the target that it costs more."""
        return max(0.0, self.rate_bps / self.target_bps - 1.0)


def planned(programme: Programme, target_bps: float, plan: plans.Plan) -> Outcome:
    """A plan's outcome by the curves."""
    rows = np.arange(len(plan))
    sizes = programme.size[rows, plan].tolist()
    return Outcome.of(target_bps, sizes, programme.vmaf[rows, plan], programme.psnr_db[rows, plan])


def rule_planners() -> dict[str, Planner]:
    """Contenders that learn nothing.

    The constant quantisers and the oracle know every curve, the greedy one those up to its chunk's, and the forecast
    what an agent knows: it is the action that an agent need only repeat.
    """
    return {
        ANCHOR: lambda env, test: plans.constant(*_of(env, test)),
        "constant quantiser, even": lambda env, test: plans.constant(*_of(env, test), "even"),
        "greedy Lagrangian": lambda env, test: plans.greedy(*_of(env, test)),
        "forecast": lambda env, test: plans.forecast(*_of(env, test)),
        ORACLE: lambda env, test: plans.oracle(*_of(env, test)),
    }


def _of(env: RateControlEnv, test: int) -> tuple[Programme, Link]:
    programme, rate_bps = env.tests[test]
    return programme, Link.of(rate_bps, len(programme))


def table(found: Mapping[str, Sequence[Outcome]], anchors: Sequence[str], rates: int) -> list[dict[str, Any]]:
    """A row a contender, whose outcomes are of the same tests in the same order, ``rates`` to a programme.

    BD-rates, in per cent of the bits of each of ``anchors``, are means over programmes; a negative one is a gain.
    """
    gain = _mean_bd(found[ANCHOR], found[ORACLE], rates, "vmaf")
    rows = []
    for name, outcomes in found.items():
        own = _mean_bd(found[ANCHOR], outcomes, rates, "vmaf")
        rows.append(
            {
                "contender": name,
                **{f"bd_rate_{_key(anchor)}": _mean_bd(found[anchor], outcomes, rates, "vmaf") for anchor in anchors},
                "bd_rate_psnr": _mean_bd(found[ANCHOR], outcomes, rates, "psnr_db"),
                "oracle_share": own / gain if gain else None,
                "rate_share": float(np.mean([one.rate_bps / one.target_bps for one in outcomes])),
                "vmaf": float(np.mean([one.vmaf for one in outcomes])),
                "worst_vmaf": float(np.mean([one.worst_vmaf for one in outcomes])),
                "psnr_db": float(np.mean([one.psnr_db for one in outcomes])),
                "worst_overshoot": max(one.overshoot for one in outcomes),
                "overshoots": sum(one.overshoot > OVERSHOOT for one in outcomes),
                "underflows": sum(one.underflows for one in outcomes),
            }
        )
    return rows


def _key(anchor: str) -> str:
    return re.sub(r"\W+", "_", anchor).lower()


def _mean_bd(anchor: Sequence[Outcome], tested: Sequence[Outcome], rates: int, quality: str) -> float:
    """Mean over programmes of Bjøntegaard's delta of the rate, %, by piecewise cubic Hermite curves (JCTVC-L1100)."""
    import bjontegaard

    found = []
    for first in range(0, len(anchor), rates):
        curves = []
        for outcomes in (anchor, tested):
            points = sorted((one.rate_bps, getattr(one, quality)) for one in outcomes[first : first + rates])
            curves += [[rate for rate, _ in points], [value for _, value in points]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of curves that overlap by less than three quarters
            delta = float(bjontegaard.bd_rate(*curves, method="pchip", require_matching_points=False, min_overlap=0))
        if not np.isfinite(delta):
            raise UserError(f"bench video: the curves of programme {first // rates} by {quality} do not overlap")
        found.append(delta)
    return float(np.mean(found))
