"""The worlds of an environment's episodes: each drawn, or replayed, at a reset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from robot_wm.errors import UserError
from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.randomisation.curriculum import Curriculum
from robot_wm_sim.randomisation.draw import Draw, Parts, draw, drawn_names
from robot_wm_sim.randomisation.episode import Pushes, VariedMotors
from robot_wm_sim.randomisation.possible import impossible
from robot_wm_sim.randomisation.ranges import BY_EFFORT, Randomisation
from robot_wm_sim.sensing.sensor_model import SensorModel
from robot_wm_sim.sensing.sensors import Sensors
from robot_wm_sim.task import Outcome, Task

_BRANCH = 0x52414E44  # of an episode's seed; far from the branches 0, 1, ... of those who spawn in order


@dataclass(frozen=True, kw_only=True)
class World:
    """One episode's; by default as the scene was built."""

    parts: Parts | None = None
    draw: Draw | None = None
    motors: VariedMotors | None = None
    pushes: Pushes | None = None

    @property
    def info(self) -> dict[str, Any]:
        """What the reset tells of it, the caller's own."""
        return {} if self.draw is None else {"randomisation": dict(self.draw.numbers)}

    def sensor_model(self, model: SensorModel) -> SensorModel:
        """``model`` with what was drawn in its place."""
        return model if self.draw is None or self.parts is None else self.draw.sensor_model(model, self.parts)


class Worlds:
    """Draws them, and makes physics so."""

    as_built = World()

    def __init__(self, randomisation: Randomisation, task: Task, sim: PhysicsBackend, sensors: Sensors) -> None:
        """Raises UserError for what engine or robot cannot do, unless the randomisation says to go without."""
        self.randomisation = randomisation  # that every episode is drawn from, unless it replays one
        self._task, self._sim, self._sensors = task, sim, sensors
        self._parts: Parts | None = None  # known once they are needed: to read a description takes time
        self.names: tuple[str, ...] = ()
        self._left_out: frozenset[str] = frozenset()
        levels = randomisation.terrain_levels
        self._curriculum = None if levels is None else Curriculum(levels)
        if not randomisation.is_none:
            self.names = drawn_names(randomisation, self._known_parts())
            self._left_out = impossible(randomisation, sim, self._known_parts())
            _require_names(randomisation, sensors, self._known_parts())

    def checked(self, logged: Any) -> Draw:
        """A logged draw's numbers as a draw; UserError for what is none."""
        return Draw.from_numbers(logged, self._known_parts())

    def begin(
        self, replayed: Draw | None, rng: np.random.Generator, *, is_seeded: bool = True, after: Outcome | None = None
    ) -> World:
        """The world of an episode with that generator, of which nothing is drawn; physics is as built.

        ``is_seeded`` and ``after`` are for `Curriculum.begin`.
        """
        if replayed is None and self.randomisation.is_none:
            return self.as_built
        parts = self._known_parts()
        level = None
        if self._curriculum is not None:
            level = self._curriculum.begin(after, is_seeded=is_seeded, is_replayed=replayed is not None)
        drawn = replayed
        if drawn is None:
            drawn = draw(self.randomisation, _branch(rng), parts, terrain_level=level).without(self._left_out)
        self._sim.vary(drawn.dynamics(parts))
        spec, robot = self._task.spec, self._task.scene.robot
        return World(
            parts=parts,
            draw=drawn,
            motors=VariedMotors.of(drawn, parts, robot, spec, episode_s=self._task.step_limit * spec.control_period_s),
            pushes=Pushes.of(drawn),
        )

    def _known_parts(self) -> Parts:
        if self._parts is None:
            self._parts = Parts.of(self._task.scene, self._sensors)
        return self._parts


def _require_names(randomisation: Randomisation, sensors: Sensors, parts: Parts) -> None:
    """Raise UserError for ranges of a sensor that nobody reads, or of a joint that is none of the kind."""
    of_sensors = (sensors.elements, "no sensor of this task reads it; they read")
    of_motors = (parts.effort, "no motor of this robot; there are")
    kinds = {
        "noise_std": of_sensors,
        "bias": of_sensors,
        "joint_offset_rad": (parts.rotating, "no turning joint of this robot; there are"),
        **dict.fromkeys(BY_EFFORT, of_motors),
    }
    for quantity, (known, told) in kinds.items():
        ranges = getattr(randomisation, quantity)
        for name in ranges if isinstance(ranges, dict) else ():
            if name not in known:
                raise UserError(f"{randomisation.origin}: {quantity}: {name}: {told} {', '.join(known)}")


def _branch(rng: np.random.Generator) -> np.random.Generator:
    """A generator of our own from another's seed, which neither its draws nor what it spawns depends on."""
    seed = rng.bit_generator.seed_seq
    assert isinstance(seed, np.random.SeedSequence)
    # An episode without a seed goes on from the last one's generator: what that has spawned tells them apart.
    key = (*seed.spawn_key, _BRANCH, seed.n_children_spawned)
    return np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=key))
