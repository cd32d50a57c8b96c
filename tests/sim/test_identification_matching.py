"""Worlds in which a robot moves as it did are found though no times align, and what is compared tells them apart."""

import time

import numpy as np
import pytest
from planted import NAMES, Planted, Waving, hang

from robot_wm_sim.identification.distribution import Likeness, windows
from robot_wm_sim.identification.matching import Rollout, match
from robot_wm_sim.identification.processes import working
from robot_wm_sim.randomisation.ranges import Randomisation

TICKS = 500
TRUTH = {"joint_friction": 0.03, "action_latency_s": 0.04}


def swings(env, numbers, seed, ticks=TICKS):
    """Windows of joints that swing in a rhythm of their own, in another phase for each seed."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed, options={"randomisation": dict(numbers)})
    phase, pulse = rng.uniform(0, 2 * np.pi, 3), np.array([3.0, 6.0, 9.0])
    told = []
    for tick in range(ticks):
        # A feedback of what is seen, as agents have it: so times of two worlds never align.
        wanted = 0.3 + 0.4 * np.sin(pulse * tick / 50.0 + phase) - 0.2 * (observation["joint_position"] - 0.3)
        told.append((observation["joint_position"], observation["joint_velocity"], np.float32(wanted)))
        observation, *_ = env.step(np.float32(wanted))
    position, velocity, command = (np.array(one, dtype=np.float64) for one in zip(*told, strict=True))
    return windows(position, velocity, command)


@pytest.fixture
def env(tmp_path):
    env = hang(Waving(tmp_path), Planted(noise={"joint_velocity": 0.02}), "mujoco")
    yield env
    env.close()


def test_motions_of_one_world_are_nearer_than_those_of_another(env):
    """Whatever differs: friction, delay, strength."""
    same = Likeness([swings(env, TRUTH, 0)])
    luck = same.distance([swings(env, TRUTH, 1)])
    for name, other in (("joint_friction", 0.0), ("action_latency_s", 0.0), ("motor_strength", 0.6)):
        assert same.distance([swings(env, {**TRUTH, name: other}, 1)]) > 2 * luck


def test_a_motion_is_no_distance_from_itself_in_any_order(env):
    told = swings(env, TRUTH, 0)
    assert Likeness([told]).distance([told[200:], told[:200]]) == pytest.approx(0.0, abs=1e-12)


def test_a_window_has_the_commands_before_it():
    """Position, speed, change of speed, and four commands as far as they are from the joint."""
    rows = np.arange(8.0)[:, None]
    (first, *_, last) = windows(rows, 10 * rows, 100 * rows)[:, 0]
    assert first.tolist() == [4.0, 40.0, 10.0, 296.0, 196.0, 96.0, -4.0]
    assert last.tolist() == [7.0, 70.0, 10.0, 593.0, 493.0, 393.0, 293.0]


def test_the_world_of_a_motion_is_found_without_its_times(env):
    def rollouts(asked):
        told = [swings(env, numbers, 10 + seed, 750) for numbers, seed in asked]
        return [Rollout(one[:500], one[500:], 1.0) for one in told]

    fit, held_out = [swings(env, TRUTH, 0, 750)], [swings(env, TRUTH, 1, 250)]
    found = match(fit, held_out, rollouts, names=list(TRUTH), generations=10, population=8)
    assert found.best["action_latency_s"] == pytest.approx(TRUTH["action_latency_s"], abs=0.004)
    assert found.best["joint_friction"] == pytest.approx(TRUTH["joint_friction"], rel=0.25)
    for name, value in TRUTH.items():
        low, high = found.ranges[name]
        assert low <= found.best[name] <= high
        assert found.is_informed(name), name
        assert low * 0.75 < value < high * 1.25
    assert found.held_out < 0.7 * found.before
    assert found.reasons == ()


def test_a_robot_that_falls_is_like_none_that_stands(env):
    told = [swings(env, TRUTH, 0)]

    def rollouts(asked):
        return [Rollout(told[0][:100], told[0][:0], 0.2) for _ in asked]

    found = match(told, told, rollouts, names=["motor_strength", "joint_friction"], generations=2, population=4)
    assert found.distance > 5.0
    low, high = found.ranges["motor_strength"]  # nothing was learned, and the ranges say so
    assert high - low > 0.1
    assert found.reasons


class Squares:
    """Counts what it is asked."""

    def __init__(self, add):
        self._add = add

    def __enter__(self):
        return self._answer

    def __exit__(self, *_):
        return None

    def _answer(self, item):
        if item < 0:
            raise ValueError(f"{item} is below 0")
        time.sleep(0.02 * (item % 3))
        return item**2 + self._add


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_answer_in_order_and_tell_what_they_raise(processes):
    with working(Squares, 5, processes) as answer:
        assert answer(list(range(7))) == [n**2 + 5 for n in range(7)]
        assert answer([]) == []
        with pytest.raises(ValueError, match="-1 is below 0"):
            answer([-1])


def test_names_are_those_that_are_drawn():
    """Every quantity that is sought is one of a randomisation."""
    from robot_wm_sim.identification.matching import BOUNDS
    from robot_wm_sim.randomisation.ranges import BOUNDS as DRAWN

    assert set(BOUNDS) <= set(DRAWN)
    for name, (low, high, start) in BOUNDS.items():
        Randomisation.model_validate({name: [low, high]})
        assert low <= start <= high
    assert len(NAMES) == 3
