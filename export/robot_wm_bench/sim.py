"""``robot-wm bench sim``: what an environment costs on top of each physics engine, and one engine beside the other."""

from __future__ import annotations

import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from robot_wm.console import emit, progress
from robot_wm.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robot_wm_sim.backend import PhysicsBackend
    from robot_wm_sim.drive import Drive
    from robot_wm_sim.env import RobotEnv

TASK = "a1_velocity"
SEED = 0  # of a start from which the home pose stands
BACKENDS = ("pybullet", "mujoco")
RAW, ENV = "raw", "env"
# The same two in a randomised world, whose physics itself costs more: joints that rub are constraints to solve.
PRESET = "sim2real"
RAW_VARIED, ENV_VARIED = "raw_sim2real", "env_sim2real"
LAYERS = (RAW, ENV, RAW_VARIED, ENV_VARIED)
Kind = tuple[str, str]  # backend; one of LAYERS
KINDS: tuple[Kind, ...] = tuple(itertools.product(BACKENDS, LAYERS))
Positive = cyclopts.validators.Number(gt=0)


def bench_sim(
    *,
    steps: Annotated[int, Parameter(validator=Positive)] = 200,
    repeats: Annotated[int, Parameter(validator=Positive)] = 151,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Measure raw PyBullet and raw MuJoCo (steps and PD torque of the A1, 500 Hz) against the a1_velocity environment.

    Both also in a world that --task-options.randomisation sim2real draws, late and noisy sensors included. All are
    measured in turns, in one process and in two at a time; the figures are medians of the turns, seconds those of the
    processor (of each process by itself; the rates of two are added up).

    Parameters
    ----------
    steps
        Physics steps of each turn.
    repeats
        Turns of each kind.
    json
        Print one JSON object.
    """
    rows, over_pybullet = [], {}
    with progress() as bar:
        task = bar.add_task("bench sim", total=2 * repeats, note="")
        for processes in (1, 2):
            rates = _rates(processes, steps, repeats, lambda: bar.advance(task))
            rows += [_row(rates, processes, backend) for backend in BACKENDS]
            if processes == 1:
                over_pybullet = {
                    layer: round(_median_ratio(rates["mujoco", layer], rates["pybullet", layer]), 3)
                    for layer in (RAW, ENV)
                }
    emit(
        {
            "task": TASK,
            "physics_rate_hz": 500,
            "steps": steps,
            "repeats": repeats,
            "mujoco_over_pybullet": over_pybullet,  # of rates, turn by turn, in one process
            "rows": rows,
        },
        as_json=json,
        title="Physics steps per second of the processor",
    )


def _row(rates: dict[Kind, list[float]], processes: int, backend: str) -> dict[str, Any]:
    """Medians of one backend; rates are of all processes together."""
    return {
        "backend": backend,
        "processes": processes,
        "raw_steps_per_s": round(statistics.median(rates[backend, RAW]), 1),
        "env_steps_per_s": round(statistics.median(rates[backend, ENV]), 1),
        "ratio": round(_median_ratio(rates[backend, ENV], rates[backend, RAW]), 4),
        "raw_sim2real_steps_per_s": round(statistics.median(rates[backend, RAW_VARIED]), 1),
        "env_sim2real_steps_per_s": round(statistics.median(rates[backend, ENV_VARIED]), 1),
        "ratio_sim2real": round(_median_ratio(rates[backend, ENV_VARIED], rates[backend, RAW_VARIED]), 4),
        "sim2real_over_env": round(_median_ratio(rates[backend, ENV_VARIED], rates[backend, ENV]), 4),
    }


def _median_ratio(above: list[float], below: list[float]) -> float:
    """Of two rates measured in the same turns."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def _rates(processes: int, steps: int, repeats: int, done: Callable[[], Any]) -> dict[Kind, list[float]]:
    """Physics steps per second of the processor, of that many processes at a time, by kind, a number a turn."""
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
        rates: dict[Kind, list[float]] = {kind: [] for kind in KINDS}
        for turn in range(repeats):
            # whichever is later finds warmer caches and a hotter chip: another one begins at every turn
            first = turn % len(KINDS)
            for kind in KINDS[first:] + KINDS[:first]:
                for pipe in pipes:
                    pipe.send_bytes(" ".join(kind).encode())
                rates[kind].append(sum(float(pipe.recv_bytes()) for pipe in pipes))
            done()
    except EOFError:
        raise UserError("bench sim: a simulator process ended early; its message is above") from None
    finally:
        for pipe in pipes:
            pipe.close()
        for worker in workers:
            worker.join()
    return rates


def _work(pipe: Connection, steps: int) -> None:
    """Body of a process: build all kinds, then run whichever is asked for until the pipe closes."""
    runs = {" ".join(kind).encode(): _loop(*kind) for kind in KINDS}
    for run in runs.values():
        run(steps)  # settles the robot on its feet and warms everything up
    pipe.send_bytes(b"ready")
    while True:
        try:
            kind = pipe.recv_bytes()
        except EOFError:
            return
        # Not a clock on the wall: beside other jobs that tells of the scheduler, which lets a short turn run through
        # and interrupts one that is a little longer for as long as ten of them.
        began = time.process_time()
        taken = runs[kind](steps)
        pipe.send_bytes(repr(taken / (time.process_time() - began)).encode())


def _loop(backend: str, layer: str) -> Callable[[int], int]:
    """Takes that many physics steps, or as many more as complete a control period, and says how many it took."""
    from robot_wm.tasks import make_env
    from robot_wm_sim.env import RobotEnv

    preset = PRESET if layer in (RAW_VARIED, ENV_VARIED) else "none"
    env = make_env(TASK, backend=backend, randomisation=preset).unwrapped
    assert isinstance(env, RobotEnv)
    return _env_loop(env) if layer in (ENV, ENV_VARIED) else _raw_loop(env)


def _raw_loop(env: RobotEnv) -> Callable[[int], int]:
    """The least that a PD torque loop over an engine needs in Python.

    It holds the robot's home pose from the same start and for as long as the environment's episode, with the motors of
    the same world, so that the engine has the same motion and the same contacts to compute; but nobody pushes, and a
    battery that sags does so between two calls. Nothing is read for a policy, and no reward is computed.
    """
    import numpy as np

    from robot_wm_sim.held_drive import HeldDrive

    _, info = env.reset(seed=SEED)
    motors = None
    if "randomisation" in info:
        motors = env.worlds.begin(env.worlds.checked(info["randomisation"]), env.np_random).motors
    world, spec = env.sim, env.agent_spec
    take = _pybullet_steps(world) if world.name == "pybullet" else _mujoco_steps(world, spec.physics_steps)
    held, home = HeldDrive(env.task.scene.robot, spec), _home(env).astype(np.float64)
    start = world.save()
    period = taken = env.task.step_limit * spec.physics_steps  # physics steps of an episode
    gains = b""  # that the drives were told last in this episode

    def run(steps: int) -> int:
        nonlocal taken, gains
        if taken >= period:
            world.restore(start)
            held.begin(motors)
            held.take(home)
            taken, gains = 0, b""
        whole = -(-steps // spec.physics_steps) * spec.physics_steps
        drive = held.run(world.state.joint_position, whole)
        take(drive, whole, drive.kp.tobytes() != gains)
        gains = drive.kp.tobytes()
        taken += whole
        return whole

    return run


def _pybullet_steps(world: PhysicsBackend) -> Callable[[Drive, int, bool], None]:
    """Two batched calls and one step at each physics step; all motors have the gains of the first, as the A1's do."""
    import pybullet

    from robot_wm_sim.pybullet_backend import PyBulletBackend

    assert isinstance(world, PyBulletBackend)
    client, body, joints = world.bullet_ids

    def take(drive: Drive, steps: int, is_new: bool) -> None:
        states, control, step = pybullet.getJointStates, pybullet.setJointMotorControlArray, pybullet.stepSimulation
        torque, unused = pybullet.TORQUE_CONTROL, [0.0] * len(joints)
        kp, kd = float(drive.kp[0]), float(drive.kd[0])
        targets, limits = (kp * drive.position).tolist(), drive.limit.tolist()
        for _ in range(steps):
            efforts = [
                hi if (u := target - kp * state[0] - kd * state[1]) > hi else -hi if u < -hi else u
                for state, target, hi in zip(states(body, joints, client), targets, limits)  # noqa: B905  costs time
            ]
            control(body, joints, torque, unused, unused, efforts, unused, unused, client)
            step(client)

    return take


def _mujoco_steps(world: PhysicsBackend, tick: int) -> Callable[[Drive, int, bool], None]:
    """One call a control period of ``tick`` steps: the drives are in the model, and are told of a new drive only."""
    import mujoco

    from robot_wm_sim.mujoco_backend import MuJoCoBackend

    assert isinstance(world, MuJoCoBackend)
    model, data = world.mujoco_parts

    def take(drive: Drive, steps: int, is_new: bool) -> None:
        if is_new:
            world.run(drive, tick)
            steps -= tick
        for _ in range(steps // tick):
            mujoco.mj_step(model, data, tick)

    return take


def _home(env: RobotEnv) -> NDArray[np.float32]:
    """The command that holds the home pose, [A] rad, rounded as an agent's is."""
    import numpy as np

    return np.array(env.agent_spec.action.offset, np.float32)


def _env_loop(env: RobotEnv) -> Callable[[int], int]:
    """The environment as a collector runs it, with resets; its action is the home pose, so the robot stands too.

    Every episode has the same start: another might end on the robot's side, where its contacts cost more.
    """
    spec, action = env.agent_spec, _home(env)
    env.reset(seed=SEED)

    def run(steps: int) -> int:
        ticks = -(-steps // spec.physics_steps)
        for _ in range(ticks):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset(seed=SEED)
        return ticks * spec.physics_steps

    return run
