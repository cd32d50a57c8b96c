"""Which planner a robot asks for, and whether the bundle has it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from robot_wm.errors import UserError
from robot_wm.runtime.planning.config import PlanningConfig
from robot_wm.runtime.planning.planner import Planner

if TYPE_CHECKING:
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.runtime.engines import EngineKind

NONE, AUTO = "none", "auto"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannerRequest:
    """``name``: none; the bundle's kind, such as dreamer or muzero; or auto, its planner where it has one that pays.

    ``simulations``: of a tree, which must be what it was exported with; 0: whatever that is. ``forced``: also a planner
    that did not pay at export.
    """

    name: str = NONE
    simulations: int = 0
    forced: bool = False
    config: PlanningConfig = field(default_factory=PlanningConfig)

    def __post_init__(self) -> None:
        if self.simulations < 0:
            raise UserError(f"planner_simulations must be at least 0, got {self.simulations}")

    def open(
        self,
        bundle: Bundle,
        *,
        kind: EngineKind = "onnx",
        threads: int = 1,
        engine_dir: Path | None = None,
        tell: Callable[[str], object] = _log.info,
    ) -> Planner | None:
        """The planner, its engine checked and active, that the caller closes; None where none is asked for.

        ``kind``, ``threads`` and ``engine_dir`` are as for ``make_engine``. Raises UserError where the bundle is of
        another kind, has no such planner, or one that did not pay, and for an engine that plans anything else.
        """
        from robot_wm.runtime.planning.load import load_planner

        section, origin = bundle.manifest.planner, str(bundle.path)
        if self.name == NONE:
            return None
        if self.name == AUTO:
            if section is None or not (section.gate.pays or self.forced):
                lacks = "has no planner" if section is None else "has a planner that did not pay"
                tell(f"planner auto: the bundle {lacks}, the actor acts alone")
                return None
        elif self.name != bundle.manifest.kind:
            found = bundle.manifest.kind
            raise UserError(f"{origin}: is of kind {found}: planner can be {found}, {AUTO} or {NONE}, not {self.name}")
        if section is not None:
            if self.simulations and section.simulations is None:
                raise UserError(
                    f"{origin}: its planner is a {section.kind} of {section.candidates} x {section.depth}, which has no"
                    f" simulations: planner_simulations must be 0, not {self.simulations}"
                )
            if self.simulations not in (0, section.simulations):
                raise UserError(
                    f"{origin}: its planner was exported with {section.simulations} simulations, not"
                    f" {self.simulations}; export it again for another number"
                )
            if section.depth < 2 and not self.config.waits:
                raise UserError(
                    f"{origin}: its plans have one action, for the tick that asks: planner_waits must be true"
                )
        budget_s, period_s = self.config.budget_s, bundle.spec.control_period_s
        if budget_s is not None and budget_s > period_s and not self.config.patient:
            raise UserError(
                f"{origin}: planner_budget_ms {budget_s * 1e3:g} exceeds the control period of {period_s * 1e3:g} ms"
            )
        engine = load_planner(bundle, kind=kind, threads=threads, engine_dir=engine_dir, forced=self.forced, tell=tell)
        assert section is not None  # or there would be no engine
        return Planner(engine, section, seed=self.config.seed)
