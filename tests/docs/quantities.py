"""What can be randomised, for sim/README.md, from the code: ``python tests/docs/quantities.py`` prints the table."""

from __future__ import annotations

from typing import Any

from robot_wm.tasks import make_env
from robot_wm_sim.env import RobotEnv
from robot_wm_sim.randomisation.possible import _problem
from robot_wm_sim.randomisation.ranges import BOUNDS, Randomisation, Range, load_randomisation

ENGINES = {"pybullet": "PyBullet", "mujoco": "MuJoCo"}
PRESETS = ("sim2real", "harsh")
BEGIN, END = "<!-- what can be randomised: `python tests/docs/quantities.py` -->", "<!-- end of what can be -->"


def table() -> str:
    """All of what stands between the marks, with them."""
    presets = [load_randomisation(name) for name in PRESETS]
    can = {engine: _possible(engine) for engine in ENGINES}
    heads = ("quantity", "what it is", "unit", "can be", *(f"`{name}`" for name in PRESETS), "engines")
    lines = [BEGIN, f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, bounds in BOUNDS.items():
        engines = [title for engine, title in ENGINES.items() if name in can[engine]]
        drawn = (_drawn(preset, name) for preset in presets)
        ends = f"{bounds.low:g} to {bounds.high:g}"
        told = "both" if len(engines) == len(ENGINES) else ", ".join(engines)
        lines.append(f"| `{name}` | {bounds.meaning} | {bounds.unit} | {ends} | {' | '.join(drawn)} | {told} |")
    return "\n".join([*lines, END])


def _possible(engine: str) -> frozenset[str]:
    """What a walking robot's world can have there."""
    env = make_env("a1_velocity", backend=engine, randomisation="mild").unwrapped
    try:
        assert isinstance(env, RobotEnv)
        parts = env.worlds._known_parts()
        return frozenset(name for name in BOUNDS if not _problem(name, env.sim, parts))
    finally:
        env.close()


def _drawn(preset: Randomisation, name: str) -> str:
    found: Any = getattr(preset, name)
    if isinstance(found, Range):
        return _range(found)
    return ", ".join(f"{part} {_range(one)}" for part, one in found.items()) if found else "–"


def _range(found: Range) -> str:
    ends = f"{found.low:g} to {found.high:g}"
    return f"{ends}, log" if found.log else ends


if __name__ == "__main__":
    print(table())
