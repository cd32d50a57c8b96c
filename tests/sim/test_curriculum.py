"""Levels of rough ground, and the A1 on it: what rises, what a seed fixes, over what feet are lifted."""

import numpy as np
import pytest

from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.randomisation.curriculum import Curriculum
from robot_wm_sim.randomisation.ranges import Randomisation
from robot_wm_sim.robots.a1 import FEET, STAND_HEIGHT_M
from robot_wm_sim.task import Outcome
from robot_wm_sim.tasks.a1 import LEGGED, A1Velocity
from robot_wm_sim.terrain import Terrain

RANGES = Randomisation(terrain_height_m=[0.0, 0.08], terrain_levels=2)
WON, FELL, NEITHER = (
    Outcome(1.0, info={"success": True}),
    Outcome(0.0, terminated=True, info={"success": False}),
    Outcome(0.5, info={"success": False}),
)


def test_a_level_rises_with_success_falls_with_falls_and_stays_within_its_bounds():
    curriculum = Curriculum(2)
    steps = (
        (None, 0),
        (FELL, 0),
        (WON, 1),
        (NEITHER, 1),
        (None, 1),  # broken off
        (WON, 2),
        (WON, 2),
        (FELL, 1),
        (FELL, 0),
    )
    assert [curriculum.begin(after, is_seeded=False) for after, _ in steps] == [level for _, level in steps]


def test_a_seed_has_the_whole_range_and_begins_the_levels_anew():
    curriculum = Curriculum(2)
    for after in (None, WON, WON):
        curriculum.begin(after, is_seeded=False)
    assert curriculum.begin(WON, is_seeded=True) == 2
    assert curriculum.begin(WON, is_seeded=False) == 0  # what the whole range brought says nothing of a level
    curriculum.begin(WON, is_seeded=False, is_replayed=True)
    assert curriculum.begin(FELL, is_seeded=False) == 1  # that of the replayed one
    assert curriculum.begin(WON, is_seeded=False) == 2


@pytest.fixture
def rough(build_env, monkeypatch):
    """An A1 on rough ground whose episodes last three steps and end as they are told."""
    ends = []
    outcome = A1Velocity.outcome

    def told(self, sim, command):
        found = outcome(self, sim, command)
        return found if self._steps < 3 else found._replace(terminated=ends[0].terminated, info=ends[0].info)

    monkeypatch.setattr(A1Velocity, "outcome", told)
    env = build_env("a1_stand", randomisation=RANGES)  # one command, however short its episodes are
    env.task.step_limit = 3
    rest = np.float32(LEGGED.home)

    def episode(end, **reset):
        """Numbers of the terrain, and the robot's state at the end, bit by bit; broken off at once without an end."""
        ends[:] = [end]
        _, info = env.reset(**reset)
        while end is not None and not any(env.step(rest)[2:4]):
            pass
        return info["randomisation"], env.sim.state.block.tobytes()

    return episode


def test_an_environment_climbs_and_a_seed_fixes_an_episode_whatever_was_run_before(rough):
    assert rough(WON, seed=4)[0]["terrain_level"] == 2
    chain = [rough(end) for end in (WON, WON, FELL, WON)]
    assert [numbers["terrain_level"] for numbers, _ in chain] == [0, 1, 2, 1]
    assert chain[0][0]["terrain_height_m"] == 0.0
    assert 0.0 < chain[1][0]["terrain_height_m"] <= 0.04
    assert [rough(end)[0]["terrain_level"] for end in (FELL, None, None, WON)] == [2, 1, 1, 1]
    seeded = rough(WON, seed=9)
    for before in (WON, FELL):
        rough(before)
        assert rough(WON, seed=9) == seeded
    # What follows a seed follows it again, if episodes end alike.
    assert rough(WON, seed=4)[0]["terrain_level"] == 2
    assert [rough(end) for end in (WON, WON, FELL, WON)] == chain


def test_a_replayed_episode_is_the_one_that_was_logged_and_leaves_the_level(rough):
    first = rough(WON, seed=4)
    assert rough(WON)[0]["terrain_level"] == 0
    assert rough(WON, seed=4, options={"randomisation": first[0]}) == first
    assert rough(WON)[0]["terrain_level"] == 0
    rough(FELL, options={"randomisation": first[0]})
    assert rough(WON)[0]["terrain_level"] == 1


def test_feet_are_lifted_over_the_ground_below_them(build_env, backend):
    """The plane around a field lies 26 cm lower; there a trot earns what it earns on the plane of a flat world."""
    lifts = []
    for terrain, place in ((None, (0.0, 0.0)), (Terrain(height_m=0.5, seed=1), (30.0, 30.0))):
        env = build_env("a1_velocity", backend=backend, command="0.5,0,0")
        env.reset(seed=1)
        env.sim.vary(Dynamics(terrain=terrain))
        z = env.sim.ground.height(*place)
        env.sim.place(joint_position=LEGGED.home, base_position=(*place, z + STAND_HEIGHT_M))
        lift = []
        for step in range(40):
            swing = 0.4 * np.sin(0.8 * step + np.repeat([0, np.pi, np.pi, 0], 3)) * np.tile([0, 1, -1], 4)
            *_, info = env.step(np.float32(LEGGED.home + swing))
            lift.append(info["terms"]["lift"])
        lifts.append(lift)
    assert z == pytest.approx(-0.26)
    assert np.mean(lifts[0]) > 0.05
    assert np.mean(lifts[1]) == pytest.approx(np.mean(lifts[0]), rel=0.1)


def test_a_robot_starts_on_its_feet_on_any_ground(build_env, backend):
    env = build_env("a1_velocity", backend=backend, randomisation=Randomisation(terrain_height_m=0.5))
    for seed in range(5):
        env.reset(seed=seed)
        assert env.sim.ground.terrain.height_m == 0.5
        x, y, z = env.sim.state.base_position
        assert z - env.sim.ground.height(x, y) == pytest.approx(STAND_HEIGHT_M)
        assert [env.sim.ground.height(*foot[:2]) for foot in env.sim.link_positions(FEET)] == [0.0] * 4
