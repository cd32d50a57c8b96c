"""A quadruped of another maker, the MIT's mini cheetah, from its description to what its reward pays for.

Nothing of it is in this repository: pybullet_data brings the description, `robot-wm robot import` makes the package.
"""

from __future__ import annotations

import importlib
import math
import sys

import numpy as np
import pytest
from imported_robots import run_import
from reward_order import Row, check
from scripted import constant

from robot_wm_sim.robots.description import pybullet_description

NAME = "second_robot"
STEPS = 400  # of an episode: enough to tell who earns more
TROT_HZ = 2.85


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The imported package's task module, and what the import said."""
    folder = tmp_path_factory.mktemp("second") / NAME
    urdf = pybullet_description("mini_cheetah/mini_cheetah.urdf").path()
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("robot_wm_sim.importing.command.messages", lambda: Lines(lines))
        options = ("--kind", "legged", "--name", NAME, "--effort", 18, "--velocity", 40)
        assert run_import(urdf, "--out", folder, *options) == 0
        patch.syspath_prepend(folder / "src")
        yield importlib.import_module(f"{NAME}.task"), lines
    for module in [name for name in sys.modules if name.split(".")[0] == NAME]:
        del sys.modules[module]


class Lines:
    """A console that keeps what is printed."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def print(self, line: str, **_: object) -> None:
        self._lines.append(line)


@pytest.fixture(scope="module")
def env(told):
    made = told[0].second_robot_velocity(command="0.5,0,0", backend="mujoco")
    made.task.step_limit = STEPS
    yield made
    made.close()


def home_of(env):
    return np.array(env.agent_spec.action.offset)


def trot(home):
    """An open-loop trot ahead, rad: a sine of the thighs, and knees that bend while a leg swings, all from home.

    Its numbers are those of a cross-entropy search over returns at 0.5 m/s, as the A1's.
    """

    def command(observation, time_s):
        wanted, size = home.copy(), min(1.0, max(0.0, time_s - 0.6))  # it lands first
        for leg in range(4):  # FR, FL, HR, HL: diagonal legs together
            phase = 2 * math.pi * TROT_HZ * time_s + (0.0 if leg in (0, 3) else math.pi)
            wanted[3 * leg + 1] += size * (0.141 - 0.393 * math.cos(phase))
            wanted[3 * leg + 2] += size * (0.157 + 0.504 * max(0.0, math.sin(phase)))
        return wanted

    return command


def test_its_knees_are_bent_and_its_odd_masses_are_told(told):
    module, lines = told
    legged = module.LEGGED
    hips, knees = legged.home.reshape(4, 3)[:, 1], legged.home.reshape(4, 3)[:, 2]
    # Thigh 0.209 m, shin 0.18 m; both axes point to the right: the thigh swings back, the shin ahead.
    np.testing.assert_allclose(0.209 * np.sin(hips) + 0.18 * np.sin(hips + knees), 0.0, atol=1e-4)
    np.testing.assert_allclose(0.209 * np.cos(hips) + 0.18 * np.cos(hips + knees), 0.75 * 0.389, atol=1e-4)
    assert (hips < 0).all()
    assert (legged.mass_kg, legged.leg_m, legged.sole_m, legged.trunk) == (8.852, 0.389, 0.015, "body")
    # What turns a leg outwards bears a robot on its side; thighs may brush against something.
    assert legged.sides == ("abduct_fr", "abduct_fl", "abduct_hr", "abduct_hl")
    assert legged.limbs == ("thigh_fr", "thigh_fl", "thigh_hr", "thigh_hl")
    # The MIT's own model of it says LEFT beside the numbers that this description has on both sides.
    assert any("the centre of mass is 13 mm to the left of the middle of the feet" in line for line in lines)


def test_it_stands_on_its_feet_after_a_start_in_motion(env):
    home = home_of(env)
    env.reset(seed=0)
    for _ in range(STEPS):
        _, _, terminated, _, info = env.step(home)
        assert not terminated
    assert 0.25 < env.sim.state.base_position[2] < 0.33  # m
    assert np.abs(env.sim.state.joint_velocity).max() < 0.1  # rad/s
    # Their ball or the end of the shin, whichever is lower: both are one body.
    links = [*env.task.legged.feet, *(foot.replace("toe", "shank") for foot in env.task.legged.feet)]
    assert sum(env.sim.contact_forces(links)) == pytest.approx(8.852 * 9.81, rel=0.02)
    assert info["figures"]["term/collision"] < 0.01


def test_its_reward_pays_for_walking_and_not_for_idling_or_ending(env):
    home = home_of(env)
    topple = home + 0.5 * np.array([*(0, -1, 1), *(0, 1, -1)] * 2)  # right legs fold, left ones stretch
    row = Row(
        task="second_robot_velocity",
        good=trot(home),
        order=("good", 20, "clumsy", 20, "idle", 150, "random", 3, "suicide"),
        share=0.85,  # at 0.75 these legs only shuffle
        seeds=3,
        suicide=constant(topple),
    )
    check(row, env)


def test_its_figures_and_contract_are_those_of_the_a1(env, build_env):
    a1 = build_env("a1_velocity")
    assert env.figure_names == a1.figure_names
    fields = [(one.name, one.shape, one.unit, one.clip) for one in env.agent_spec.observations]
    assert fields == [(one.name, one.shape, one.unit, one.clip) for one in a1.agent_spec.observations]
    assert env.agent_spec.commands == a1.agent_spec.commands
    assert not set(env.agent_spec.action.joints) & set(a1.agent_spec.action.joints)
