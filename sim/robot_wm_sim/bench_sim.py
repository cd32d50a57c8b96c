"""``robot-wm bench sim``: what an environment costs on top of the physics engine."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from robot_wm.console import emit, progress
from robot_wm.errors import UserError

TASK = "a1_velocity"
SEED = 0  # of a start from which the home pose stands
Positive = cyclopts.validators.Number(gt=0)


def bench_sim(
    *,
    steps: Annotated[int, Parameter(validator=Positive)] = 200,
    repeats: Annotated[int, Parameter(validator=Positive)] = 151,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure raw PyBullet (stepSimulation and PD torque of the A1, 500 Hz) against the a1_velocity environment.

    Both are measured in turns, in one process and in two at a time; the figures are medians of the turns.

    Parameters
    ----------
    steps
        Physics steps of each turn.
    repeats
        Turns of each kind.
    json
        Print one JSON object.
    """
    rows = []
    with progress() as bar:
        task = bar.add_task("bench sim", total=2 * repeats, note="")
        for processes in (1, 2):
            rows.append(_row(processes, steps, repeats, lambda: bar.advance(task)))
    one = {key: value for key, value in rows[0].items() if key != "processes"}
    emit(
        {**one, "task": TASK, "physics_rate_hz": 500, "steps": steps, "repeats": repeats, "rows": rows},
        as_json=json,
        title="Physics steps per second",
    )


def _row(processes: int, steps: int, repeats: int, done: Callable[[], Any]) -> dict[str, Any]:
    """Medians for that many processes at a time; rates are of all processes together."""
    context = multiprocessing.get_context("spawn")  # so that one process and two are measured alike
    pipes, workers = [], []
    for _ in range(processes):
        ours, theirs = context.Pipe()
        worker = context.Process(target=_work, args=(theirs, steps), daemon=True)
        worker.start()
        theirs.close()
        pipes.append(ours)
        workers.append(worker)
    try:
        for pipe in pipes:  # all are built before any is measured
            pipe.recv_bytes()
        rates: dict[bytes, list[float]] = {b"raw": [], b"env": []}
        ratios = []
        for turn in range(repeats):
            # whichever is second finds warmer caches and a hotter chip: swap them at every turn
            for kind in (b"raw", b"env") if turn % 2 == 0 else (b"env", b"raw"):
                for pipe in pipes:
                    pipe.send_bytes(kind)
                rates[kind].append(sum(float(pipe.recv_bytes()) for pipe in pipes))
            ratios.append(rates[b"env"][-1] / rates[b"raw"][-1])
            done()
    except EOFError:
        raise UserError("bench sim: a simulator process ended early; its message is above") from None
    finally:
        for pipe in pipes:
            pipe.close()
        for worker in workers:
            worker.join()
    return {
        "processes": processes,
        "raw_steps_per_s": round(statistics.median(rates[b"raw"]), 1),
        "env_steps_per_s": round(statistics.median(rates[b"env"]), 1),
        "ratio": round(statistics.median(ratios), 4),
    }


def _work(pipe: Connection, steps: int) -> None:
    """Body of a process: build both, then run whichever is asked for until the pipe closes."""
    runs = {b"raw": _raw_loop(), b"env": _env_loop()}
    for run in runs.values():
        run(steps)  # settles the robot on its feet and warms everything up
    pipe.send_bytes(b"ready")
    while True:
        try:
            kind = pipe.recv_bytes()
        except EOFError:
            return
        began = time.perf_counter()
        taken = runs[kind](steps)
        pipe.send_bytes(repr(taken / (time.perf_counter() - began)).encode())


def _raw_loop() -> Callable[[int], int]:
    """The least that a PD torque loop over PyBullet needs in Python: two batched calls and one step.

    It holds the robot's home pose from the same start and for as long as the environment's episode, so that Bullet
    has the same motion and the same contacts to compute. Nothing is read for a policy, and no reward is computed.
    """
    import pybullet

    from robot_wm.tasks import make_env
    from robot_wm_sim.env import RobotEnv
    from robot_wm_sim.pybullet_backend import PyBulletBackend
    from robot_wm_sim.robots.a1 import A1

    env = make_env(TASK).unwrapped
    assert isinstance(env, RobotEnv)
    env.reset(seed=SEED)
    world = env.sim
    assert isinstance(world, PyBulletBackend)
    client, body, joints = world.bullet_ids
    start = world.save()
    period = env.task.step_limit * env.agent_spec.physics_steps  # physics steps of an episode
    limits = [motor.limits.effort or 0.0 for motor in A1.motors]
    kp, kd = A1.motors[0].kp, A1.motors[0].kd
    targets = [kp * motor.home for motor in A1.motors]
    taken = 0

    def run(steps: int) -> int:
        nonlocal taken
        states, control, step = pybullet.getJointStates, pybullet.setJointMotorControlArray, pybullet.stepSimulation
        torque = pybullet.TORQUE_CONTROL
        if taken >= period:
            world.restore(start)
            taken = 0
        for _ in range(steps):
            efforts = [
                hi if (u := target - kp * state[0] - kd * state[1]) > hi else -hi if u < -hi else u
                for state, target, hi in zip(states(body, joints, client), targets, limits)  # noqa: B905  costs time
            ]
            control(body, joints, torque, forces=efforts, physicsClientId=client)
            step(client)
        taken += steps
        return steps

    return run


def _env_loop() -> Callable[[int], int]:
    """The environment as a collector runs it, with resets; its action is the home pose, so the robot stands too.

    Every episode has the same start: another might end on the robot's side, where its contacts cost Bullet more.
    """
    import numpy as np

    from robot_wm.tasks import agent_spec, make_env

    env = make_env(TASK)
    spec = agent_spec(env)
    action = np.array(spec.action.offset, np.float32)
    env.reset(seed=SEED)

    def run(steps: int) -> int:
        ticks = -(-steps // spec.physics_steps)
        for _ in range(ticks):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset(seed=SEED)
        return ticks * spec.physics_steps

    return run
