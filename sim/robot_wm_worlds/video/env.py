"""RateControlEnv: a Gymnasium environment over curves that were encoded before, at thousands of chunks a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile
from robot_wm_sim.spaces import observation_space
from robot_wm_worlds.video.clips import Split
from robot_wm_worlds.video.curves import read_all, shipped
from robot_wm_worlds.video.encoder import QUANTISERS, SPREADS
from robot_wm_worlds.video.forecast import COARSEST_PROBE
from robot_wm_worlds.video.knowledge import FIELDS, Knowledge
from robot_wm_worlds.video.link import OVERSHOOT, Link, Sending
from robot_wm_worlds.video.pictures import CHUNK_S
from robot_wm_worlds.video.plans import constant, fair_price
from robot_wm_worlds.video.programme import Programme, draw, draw_target, test_programmes, test_targets

TASK = "video_rate_control"
REACH = 2  # steps of the quantiser that an action may be finer or coarser than what the forecast offers
STEP = QUANTISERS[1] - QUANTISERS[0]
STEPS = 2 * REACH + 1
AS_OFFERED = REACH  # the action that takes the forecast's best offer
FIGURES = ("vmaf", "psnr_db", "gain_vmaf", "spent", "underflows", "overshoot", "held_back")


class RateControlEnv(gymnasium.Env[dict[str, Any], Any]):
    """A forecast from ten probes of every chunk offers a mode of the encoder, and actions correct it.

    What the decoder's buffer or the budget cannot take is encoded again, coarser, before it is sent.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  # Gymnasium declares it an instance's

    def __init__(
        self, *, seed: int = 0, render_mode: str | None = None, split: Split = "train", curves: Path | None = None
    ) -> None:
        """See `video_rate_control`."""
        if render_mode is not None:
            raise UserError(f"task {TASK}: render_mode {render_mode}: it has no pictures; `robot-wm bench video` has")
        self._curves = read_all(curves or shipped(), split)
        self.tests = [(one, rate) for one in test_programmes(self._curves) for rate in test_targets(one)]
        self._split = split
        self.render_mode = render_mode
        self.figure_names = FIGURES
        self.agent_spec = AgentSpec(
            task=TASK,
            robot="video_encoder",
            control_rate_hz=1 / CHUNK_S,
            physics_rate_hz=1 / CHUNK_S,
            observations=FIELDS,
            action=ActionSpec(mode="discrete", joints=_choices(), unit="1"),
            firmware=FirmwareProfile(name="libx264"),
        )
        self.observation_space = observation_space(self.agent_spec)
        self.action_space = spaces.Discrete(len(SPREADS) * STEPS)
        self._first_seed: int | None = seed

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
        """A programme of shots of 2 to 6 s, and a target: what some constant quantiser from 22 to 38 would cost.

        Of the test's split one of its programmes and targets, or that with the number ``options["test"]``.
        """
        seed = self._first_seed if seed is None else seed
        self._first_seed = None
        super().reset(seed=seed)
        number = (options or {}).get("test")
        if number is None and self._split == "test":
            number = int(self.np_random.integers(len(self.tests)))
        if number is None:
            programme = draw(self._curves, self.np_random)
            self.begin(programme, draw_target(programme, self.np_random))
        elif isinstance(number, int) and 0 <= number < len(self.tests):
            self.begin(*self.tests[number])
        else:
            raise UserError(f"task {TASK}: test is {number!r}, but must be one of 0…{len(self.tests) - 1}")
        return self._knowledge.observe(), {}

    def begin(self, programme: Programme, rate_bps: float) -> None:
        """Start with this programme at this mean rate, bit/s."""
        self.programme, self.link = programme, Link.of(rate_bps, len(programme))
        self._sending = Sending(self.link, programme.size[:, COARSEST_PROBE])
        self._knowledge = Knowledge(programme, self._sending)
        self._price = fair_price(programme, self.link.budget)
        beside = constant(programme, self.link)  # [N]
        rows = np.arange(len(programme))
        worth = programme.vmaf - self._price * programme.size  # [N, M]
        self._gain = (worth - worth[rows, beside][:, None]).tolist()
        self._beside = float(programme.vmaf[rows, beside].mean())
        self._sizes = programme.size.tolist()
        self.plan: list[int] = []
        self._held_back = 0

    def step(self, action: Any) -> tuple[dict[str, NDArray[np.float32]], float, bool, bool, dict[str, Any]]:
        """Encode the next chunk some steps finer or coarser than the forecast offers, or as the link can take it.

        Actions are numbers of `ActionSpec.joints`: all steps of the best spread, the finest first, then of the others.
        Reward: its VMAF less a price times its bytes, and less the same of the best constant quantiser within the
        budget. That second part changes no order of plans; the price, points a byte, is the one at which a programme
        whose curves are all known would just spend its budget. Over with the last chunk, when the figures are told.
        Success is a programme of more quality than the constant quantiser's, no underflow, and within 1 % of the
        budget.
        """
        chunk, sizes = self._sending.chunk, self._sizes[self._sending.chunk]
        rank, step = divmod(int(action), STEPS)
        first, offered = divmod(self._knowledge.offers[rank], len(QUANTISERS))
        wanted = first * len(QUANTISERS) + min(max(offered + step - REACH, 0), len(QUANTISERS) - 1)
        mode = self._sending.admit(sizes, wanted)
        self._held_back += mode != wanted
        self.plan.append(mode)
        self._knowledge.send(mode, sizes[mode], float(self.programme.vmaf[chunk, mode]))
        is_over = self._sending.chunk >= len(self.programme)
        info: dict[str, Any] = {"figures": self._figures()} if is_over else {"figures": {}}
        if is_over:
            figures = info["figures"]
            info["success"] = bool(figures["gain_vmaf"] > 0 and not figures["underflows"] and not figures["overshoot"])
        return self._knowledge.observe(), self._gain[chunk][mode], is_over, False, info

    def _figures(self) -> dict[str, float | None]:
        """Of a whole programme: means of VMAF and PSNR, the former's gain over the constant quantiser, and the rate.

        ``spent`` is a share of the budget; ``held_back`` the share of chunks that the link wanted coarser.
        """
        rows, plan = np.arange(len(self.plan)), np.array(self.plan)
        vmaf = float(self.programme.vmaf[rows, plan].mean())
        spent = 1.0 - self._sending.left / self.link.budget
        return {
            "vmaf": vmaf,
            "psnr_db": float(self.programme.psnr_db[rows, plan].mean()),
            "gain_vmaf": vmaf - self._beside,
            "spent": spent,
            "underflows": float(self._sending.underflows),
            "overshoot": float(spent > 1 + OVERSHOOT),
            "held_back": self._held_back / len(self.plan),
        }


def video_rate_control(
    *, seed: int = 0, render_mode: str | None = None, split: Split = "train", curves: Path | None = None
) -> RateControlEnv:
    """Give each second of a video its quantiser under a budget of bits (24 chunks of 1 s, quality by VMAF).

    Args:
        seed: of the first episode.
        render_mode: None; what it would show is the video.
        split: whose clips: ``train``, of which programmes are drawn, or ``test``, a few programmes, always the same.
        curves: folder that `robot-wm video curves` filled; by default the curves that come with the package.

    Raises UserError for a folder without curves, and for curves that are damaged.
    """
    return RateControlEnv(seed=seed, render_mode=render_mode, split=split, curves=curves)


def _choices() -> tuple[str, ...]:
    finer = tuple(f"finer_{STEP * step}" for step in range(REACH, 0, -1))
    steps = (*finer, "offered", *(f"coarser_{STEP * step}" for step in range(1, REACH + 1)))
    return tuple(f"{rank}_{step}" for rank in ("best", "second", "third") for step in steps)
