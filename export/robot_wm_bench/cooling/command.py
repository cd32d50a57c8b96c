"""``robot-wm bench cooling``: an agent beside constants, trim and respond, and a linear MPC."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from robot_wm.console import emit, progress

if TYPE_CHECKING:
    from robot_wm.spec import AgentSpec
    from robot_wm_bench.cooling.controller import PlantController
    from robot_wm_bench.cooling.rollout import Run

TASK = "datacenter_cooling"
TRIM_RESPOND, FIXED, HOURLY, MPC = "trim and respond", "fixed set-points", "best by the hour", "linear MPC"
# Of a plant that nobody optimises, for every load and weather: °C, 1, 1, °C.
FIXED_SET_POINTS = (22.0, 1.2, 1.2, 12.0)
LEARNED_DAYS, EPISODE_DAYS = 30, 2  # what the MPC is identified from: as much as an agent learns from
SEARCHED_EPISODES = 6  # of two days each, for every constant that is tried
SETTLING_H = 24.0  # first hours of an episode that are not counted, on the way from where it starts
Positive = cyclopts.validators.Number(gt=0)
Maker = Callable[[], "PlantController"]


def bench_cooling(
    *,
    agent: tuple[Path, ...] = (),
    weather: str = "held_out",
    weeks: Annotated[int, Parameter(validator=cyclopts.validators.Number(gte=1, lte=52))] = 52,
    candidates: Annotated[int, Parameter(validator=Positive)] = 32,
    learned: bool = True,
    threads: Annotated[int, Parameter(validator=Positive)] = 1,
    seed: int = 0,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Compare what cools two data halls over the same weather and IT load, city by city.

    All but the agents are made in this run, on weather that is not the comparison's: the MPC's model from 30 days of an
    excited plant, the best set-points by the hour from a search. Outside are hours with some hall's inlet air outside
    ASHRAE's recommended 18–27 °C, 5 min means.

    Parameters
    ----------
    agent
        Exported agents (or zoo:NAME) of the task datacenter_cooling.
    weather
        Cities to compare in, joined by commas; held_out stands for chicago, miami.
    weeks
        Weeks of the year, evenly spread; 52 is the year in one run, all but its first day.
    candidates
        Constants that the search by the hour tries.
    learned
        Compare with what this run would have to learn first, too: the MPC and the best set-points by the hour.
    threads
        Runs at a time, each with an EnergyPlus process of its own.
    seed
        Of load, excitation and search.
    json
        Print one JSON object.
    """
    from robot_wm.tasks import agent_spec, make_env
    from robot_wm_bench.cooling.controller import Constant
    from robot_wm_bench.cooling.hourly import search_hourly
    from robot_wm_bench.cooling.identify import identify, over_ranges, record
    from robot_wm_bench.cooling.mpc import LinearMpc
    from robot_wm_bench.cooling.trim_respond import TrimRespond
    from robot_wm_worlds.cooling.weather import parse_cities

    cities = parse_cities(weather)
    with progress() as bar, ExitStack() as stack:
        env = make_env(TASK, seed=seed, days=EPISODE_DAYS)
        stack.callback(env.close)
        spec = agent_spec(env)
        makers: dict[str, Maker] = {TRIM_RESPOND: TrimRespond, FIXED: lambda: Constant(FIXED_SET_POINTS)}
        told: dict[str, Any] = {}
        if learned:
            task = bar.add_task("bench cooling", total=candidates + 1, note="learning the plant")
            plant = over_ranges(spec)
            model = identify(record(env, plant, episodes=LEARNED_DAYS // EPISODE_DAYS, seed=seed))
            bar.advance(task)
            hourly = search_hourly(
                env,
                count=candidates,
                seeds=range(seed, seed + SEARCHED_EPISODES),
                seed=seed,
                done=lambda: bar.advance(task),
            )
            makers |= {HOURLY: lambda: hourly, MPC: lambda: LinearMpc(plant, model)}
            told = {
                "model": {
                    "days": LEARNED_DAYS,
                    "inlet_high_error_k": round(model.inlet.high_error, 3),
                    "power_error_kw": [round(power.error_kw, 3) for power in model.power],
                },
                "by_the_hour": hourly.set_points.round(2).tolist(),
            }
        makers |= {str(path): _bundled(stack, path, spec) for path in agent}
        task = bar.add_task("bench cooling", total=len(cities) * len(makers), note="comparing")
        with ThreadPoolExecutor(threads) as pool:
            jobs = {
                (city, name): pool.submit(_compared, city, make, weeks, seed)
                for city in cities
                for name, make in makers.items()
            }
            runs = {}
            for key, job in jobs.items():
                runs[key] = job.result()
                bar.advance(task)
    emit(
        {
            "task": TASK,
            "weeks": weeks,
            "seed": seed,
            **told,
            "rows": [_row(city, name, run, runs[city, TRIM_RESPOND]) for (city, name), run in runs.items()],
        },
        as_json=json,
        title="Cooling of two data halls",
    )


def _bundled(stack: ExitStack, path: Path, spec: AgentSpec) -> Maker:
    from robot_wm_bench.cooling.agent import bundled

    def make() -> PlantController:
        return stack.enter_context(bundled(path, spec))

    return make


def _compared(city: str, make: Maker, weeks: int, seed: int) -> Run:
    """One controller in one city."""
    from robot_wm.tasks import make_env
    from robot_wm_bench.cooling.rollout import run_episode

    days = 365 if weeks == 52 else 8  # of which the first is not counted
    controller, runs = make(), []
    for number in range(1 if weeks == 52 else weeks):
        first_day = round(number * (365 - days) / max(1, weeks - 1)) if weeks < 52 else 0
        env = make_env(TASK, weather=city, days=days, first_day=first_day)
        try:
            runs.append(run_episode(env, controller, seed=seed + number, settling_h=SETTLING_H))
        finally:
            env.close()
    return reduce(lambda one, other: one + other, runs)


def _row(city: str, name: str, run: Run, reference: Run) -> dict[str, Any]:
    return {
        "weather": city,
        "controller": name,
        "hvac_kwh": round(run.hvac_kwh, 1),
        "pue": round(run.pue, 4),
        "outside_h": round(run.outside_h, 2),
        "warmest_inlet_c": round(run.warmest_c, 2),
        "against_trim_and_respond_percent": round(100 * (run.hvac_kwh / reference.hvac_kwh - 1), 2),
        "hours": round(run.hours, 1),
        "reward_per_step": round(run.reward / run.steps, 4),
    }
