"""The plant as a Gymnasium environment: set-points in, readings out, one EnergyPlus process behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.limits import command_limits, limit_command
from robot_wm.runtime.transform import to_command
from robot_wm_sim.spaces import action_space, observation_space
from robot_wm_worlds.cooling.contract import agent_spec
from robot_wm_worlds.cooling.engine import Engine
from robot_wm_worlds.cooling.it_load import draw_load
from robot_wm_worlds.cooling.plant import AIR_DENSITY, DESIGN_FLOW, TIMESTEP_MIN, Reading, inlet_temperature, orders
from robot_wm_worlds.cooling.reward import outside_k, reward

YEAR_DAYS = 365
SUCCESS_PUE = 1.2

Observation = dict[str, Any]  # name → float32 [O]


class DataCenterCooling(gymnasium.Env[Observation, Any]):
    """Observations are the spec's fields, raw, at the end of a control step; actions are set-points [A].

    A command is cut to its range and to its ramp, by the function that does so on the robot
    (`robot_wm.runtime.limits`); the field ``set_points`` tells what the plant was told. A seed fixes city, season, load
    and weather of an episode. Methods raise UserError where EnergyPlus fails (see `Engine`).
    """

    figure_names = ("pue", "hvac_kw", "outside_share", "inlet_max_c", "economiser_share")
    randomisation_names = ("city", "first_day")

    def __init__(
        self,
        *,
        cities: Sequence[str],
        days: int,
        first_day: int | None,
        control_minutes: int,
        seed: int,
        render_mode: str | None = None,
        engine: Engine | None = None,
    ) -> None:
        """``first_day`` None draws one for each episode; see `robot_wm_worlds.cooling.task` for the other options."""
        if control_minutes < TIMESTEP_MIN or control_minutes % TIMESTEP_MIN or 24 * 60 % control_minutes:
            raise UserError(f"control_minutes {control_minutes}: not a multiple of {TIMESTEP_MIN} min that fits a day")
        if not 1 <= days <= YEAR_DAYS:
            raise UserError(f"days {days}: an episode lasts 1 to {YEAR_DAYS} days")
        if first_day is not None and not 0 <= first_day <= YEAR_DAYS - days:
            raise UserError(f"first_day {first_day}: {days} days from there are not within 0 to {YEAR_DAYS - 1}")
        self.agent_spec = agent_spec(control_minutes)
        self.render_mode = render_mode
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 12}
        self.observation_space = observation_space(self.agent_spec)
        self.action_space = action_space(self.agent_spec.action)
        self._limits = command_limits(self.agent_spec)
        # Where every episode begins, as the runtime's safety filter does; any load and weather can bear it.
        self._start = to_command(self.agent_spec.action, np.zeros(self.agent_spec.action_dim))  # [A]
        self._cities, self._days, self._first_day = tuple(cities), days, first_day
        self._per_step = control_minutes // TIMESTEP_MIN
        self._engine = engine or Engine()
        self._first_seed: int | None = seed

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start the plant at midnight and run it for a control step under the zero action's set-points.

        ``options`` may name ``city`` (its number among the task's) and ``first_day``, as an earlier reset told them.
        """
        seed = self._first_seed if seed is None else seed
        self._first_seed = None
        super().reset(seed=seed, options=options)
        drawn = {
            "city": int(self.np_random.integers(len(self._cities))),
            "first_day": int(self.np_random.integers(YEAR_DAYS - self._days + 1)),
        }
        if self._first_day is not None:
            drawn["first_day"] = self._first_day
        drawn |= {name: int(value) for name, value in (options or {}).items() if name in drawn}
        (load_rng,) = self.np_random.spawn(1)
        self._load = draw_load(load_rng, first_day=drawn["first_day"], days=self._days)  # [T, 2] W
        self._row = 0  # timesteps of EnergyPlus that have been taken
        self._command = self._start.copy()
        self._told = _Told()
        self._air_density = AIR_DENSITY
        first = orders(self._start.astype(np.float64), self._load[0], 15.0)
        city = self._cities[drawn["city"]]
        reading = self._engine.start(city, first_day=drawn["first_day"], days=self._days, values=first)
        self._reading, self._row = reading, 1
        self._take_density(first)
        self._run(self._per_step - 1, [(reading, self._load[0])])
        return self._observe(), {"randomisation": {name: float(value) for name, value in drawn.items()}}

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Run the plant for a control step under set-points [A]; ValueError for NaN or another shape."""
        target = np.array(action, np.float32)
        if target.shape != self._command.shape or not np.isfinite(target).all():
            raise ValueError(
                f"action {action!r} is not {len(self._start)} finite numbers, {self.agent_spec.action.unit}"
            )
        self._command = limit_command(target, self._command, self._limits)
        self._run(self._per_step, [])
        hvac_w, it_w = self._reading.hvac_w, self._it_w
        wet_bulb_c = np.array(self._reading.outdoor_c[1])
        paid = float(reward(np.array(hvac_w), self._inlet_c, it_w.sum(), wet_bulb_c))
        self._told.add(self._reading, it_w, self._inlet_c)
        is_over = self._row + self._per_step > len(self._load)
        figures = self._told.figures()
        info: dict[str, Any] = {"figures": figures}
        if is_over:
            info["success"] = self._told.is_good()
        return self._observe(), paid, False, is_over, info

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]  # Gymnasium's union leaves None out
        """A plant has no picture: a black frame [16, 16, 3] in render mode, else None."""
        return None if self.render_mode is None else np.zeros((16, 16, 3), np.uint8)

    def close(self) -> None:
        """End EnergyPlus."""
        self._engine.close()

    def _run(self, timesteps: int, seen: list[tuple[Reading, NDArray[np.float64]]]) -> None:
        """Take timesteps under the command; what is told of them, with those ``seen``, is their mean."""
        command = self._command.astype(np.float64)
        for _ in range(timesteps):
            it_w = self._load[self._row]
            wet_bulb_c = float(self._reading.outdoor_c[1])
            told = orders(command, it_w, wet_bulb_c, self._air_density)
            self._reading = self._engine.advance(told)
            self._take_density(told)
            self._row += 1
            seen.append((self._reading, it_w))
        self._inlet_c = np.mean(
            [inlet_temperature(r.supply_c, r.hall_c, r.supply_flow, it_w) for r, it_w in seen], axis=0
        )  # [2]
        self._it_w = np.mean([it_w for _, it_w in seen], axis=0)  # [2]
        self._reading = Reading(np.mean([reading.values for reading, _ in seen], axis=0))

    def _take_density(self, told: NDArray[np.float64]) -> None:
        """Of the air that fans moved: what a loop of pressure has found out by itself."""
        self._air_density = float(self._reading.supply_flow[0] * AIR_DENSITY / (told[1] * DESIGN_FLOW))

    def _observe(self) -> Observation:
        reading = self._reading
        angle = 2 * math.pi * (self._row * TIMESTEP_MIN / (24 * 60) % 1.0)
        found = {
            "inlet_temperature": self._inlet_c,
            "hall_temperature": reading.hall_c,
            "supply_temperature": reading.supply_c,
            "it_power": self._it_w,
            "weather": reading.outdoor_c,
            "chilled_water_temperature": [reading.chilled_water_c],
            "valve": reading.valve,
            "power": reading.power_w,
            "time_of_day": [math.sin(angle), math.cos(angle)],
            "set_points": self._command,
        }
        return {name: np.array(value, np.float32) for name, value in found.items()}


class _Told:
    """Figures of the episode so far."""

    def __init__(self) -> None:
        self._steps = self._outside = 0
        self._hvac_w = self._it_w = self._free_w = self._heat_w = 0.0
        self._warmest_c = -math.inf

    def add(self, reading: Reading, it_w: NDArray[np.float64], inlet_c: NDArray[np.float64]) -> None:
        self._steps += 1
        self._outside += bool(outside_k(inlet_c).any())
        self._hvac_w += reading.hvac_w
        self._it_w += float(it_w.sum())
        self._free_w += reading.economiser_heat_w
        self._heat_w += reading.economiser_heat_w + reading.chiller_heat_w
        self._warmest_c = max(self._warmest_c, float(inlet_c.max()))

    def is_good(self) -> bool:
        """Never outside, at a PUE below SUCCESS_PUE."""
        return self._outside == 0 and 1.0 + self._hvac_w / self._it_w < SUCCESS_PUE

    def figures(self) -> dict[str, float | None]:
        """PUE counts the servers and all that cools them, nothing else of a building."""
        return {
            "pue": 1.0 + self._hvac_w / self._it_w,
            "hvac_kw": self._hvac_w / self._steps / 1e3,
            "outside_share": self._outside / self._steps,
            "inlet_max_c": self._warmest_c,
            "economiser_share": self._free_w / self._heat_w if self._heat_w else None,
        }
