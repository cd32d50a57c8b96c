"""What each task's reward pays for: doing it well, above clumsy attempts, above idling; and ending early never pays.

Two traps teach a learner something else than the task. *Ending pays*: whoever ends the episode early earns more than
whoever lives. *Doing nothing is a barrier*: idling earns more than an honest attempt that is not good yet.
"""

import numpy as np
import pytest
from reward_order import Row, check
from scripted import constant, hold_upright, pursue, reach, stand, swing_up, trot

# rad: the right legs fold and the left ones stretch, so that the A1 rolls over within a second
TOPPLE = constant(np.array([*(-0.35, 1.3, -1.84), *(-0.15, 0.3, -1.0)] * 2))


ROWS = (
    Row(
        task="cartpole_balance",
        good=hold_upright,
        order=("good", 10, "clumsy", 300, "idle", 3, "random", 15, "suicide"),
        seeds=16,
        suicide=constant(np.array([10.0])),  # N: the pole falls to the other side
    ),
    # A pole that hangs still is the worst of all states and earns nothing, so random forces earn more than none: there
    # is no barrier, and idling comes last.
    Row(
        task="cartpole_swingup",
        good=swing_up,
        order=("good", 40, "clumsy", 250, "random", 10, "idle"),
    ),
    Row(
        task="panda_reach",
        good=reach,
        order=("good", 20, "clumsy", 20, "idle", 1, "random"),
        share=0.2,
    ),
    # Random commands move the car about where it started. In the mean that is neither nearer to the post nor further
    # away (returns of 30 seeds: 0.4 ± 0.3), so random and idle are no order but alike, as far as the seeds can tell.
    Row(
        task="racecar_goal",
        good=pursue,
        order=("good", 1, "clumsy", 3, "random", -1, "idle"),
        share=0.35,
        seeds=3,
        options={"observation": "proprio"},
    ),
    # A clumsy trot that stays on its feet (seven tenths of it, the rest noise) still goes ahead, and must earn more
    # than standing. With more of the trot these seeds fall on their hips, which ends what pays.
    Row(
        task="a1_velocity",
        good=trot,
        order=("good", 200, "clumsy", 20, "idle", 200, "random", 50, "suicide"),
        share=0.7,
        seeds=2,
        suicide=TOPPLE,
        options={"command": "0.5,0,0"},
    ),
    # Standing at its pose is all that is asked for here, so idle is good; *clumsy* is half of that and half noise.
    Row(
        task="a1_stand",
        good=stand,
        order=("idle", 300, "clumsy", 200, "random", 50, "suicide"),
        seeds=2,
        suicide=TOPPLE,
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=[row.task for row in ROWS])
def test_the_reward_pays_for_the_task_and_not_for_idling_or_ending(build_env, row):
    check(row, build_env(row.task, **row.options))


@pytest.mark.parametrize(
    ("order", "per_step", "per_effort"),
    [(("idle", 0, "suicide"), -2.0, 0.0), (("clumsy", 0, "idle"), 0.0, -0.5)],
    ids=["ending pays", "doing nothing is a barrier"],
)
def test_either_trap_is_found_out(build_env, monkeypatch, order, per_step, per_effort):
    env = build_env("cartpole_balance")
    outcome = env.task.outcome

    def trapped(sim, command):
        paid = outcome(sim, command)
        return paid._replace(reward=paid.reward + per_step + per_effort * abs(command[0]))

    check(ROWS[0]._replace(order=order), env)
    monkeypatch.setattr(env.task, "outcome", trapped)
    with pytest.raises(AssertionError, match=f"{order[0]} against {order[-1]}"):
        check(ROWS[0]._replace(order=order), env)
