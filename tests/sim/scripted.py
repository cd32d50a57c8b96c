"""Policies written by hand, to ask a task's reward what it pays for: pure functions of an observation and the time.

They read raw SI observations of a task's `proprio` fields and give SI commands, as an environment takes and gives them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm_sim.env import RobotEnv
from robot_wm_sim.robots.a1 import A1

Observation = Mapping[str, NDArray[np.float32]]
Command = NDArray[np.float64]  # [A] SI
Policy = Callable[[Observation, float], Command]  # what is observed, and the time in s since the episode's start

# LQR of the linearised cartpole, 50 Hz, state cost (1, 10, 0.1, 0.1), control cost 0.1: N per (m, rad, m/s, rad/s).
LQR = np.array([2.8326, 39.598, 4.1759, 9.9043])
POLE_INERTIA, POLE_MASS, POLE_CENTRE_M = 0.0333, 0.1, 0.5  # kg·m² about the hinge, kg, m

# Franka's Denavit-Hartenberg parameters after Craig, of joints 1 to 7: a m, d m, alpha rad; and where the tool is.
PANDA_LINKS = (
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -math.pi / 2),
    (0.0, 0.316, math.pi / 2),
    (0.0825, 0.0, math.pi / 2),
    (-0.0825, 0.384, -math.pi / 2),
    (0.0, 0.0, math.pi / 2),
    (0.088, 0.0, math.pi / 2),
)
PANDA_TOOL_M = 0.107 + 0.105  # flange and finger tips, along the last joint's axis

A1_HOME = np.array([joint.home for joint in A1.joints])  # [12] rad
TROT_HZ = 3.12

RACECAR_WHEELBASE_M, RACECAR_STEERING_RAD = 0.325, 0.4
RACECAR_TURN_M = RACECAR_WHEELBASE_M / math.tan(RACECAR_STEERING_RAD)  # the smallest circle of the rear axle


class Episode(NamedTuple):
    """What came of an episode."""

    total: float  # sum of rewards
    steps: int
    terminated: bool
    info: Mapping[str, Any]  # of the last step


def episode(env: RobotEnv, policy: Policy, *, seed: int) -> Episode:
    """Run ``policy`` from the start that ``seed`` gives to the episode's end."""
    observation, info = env.reset(seed=seed)
    total, steps, terminated, truncated = 0.0, 0, False, False
    while not (terminated or truncated):
        command = policy(observation, steps / env.agent_spec.control_rate_hz)
        observation, reward, terminated, truncated, info = env.step(np.asarray(command, np.float32))
        total, steps = total + reward, steps + 1
    return Episode(total, steps, terminated, info)


# -- for every task ---------------------------------------------------------------------------------------------------


def constant(command: NDArray[Any]) -> Policy:
    """The same command [A] at every step; idle is `constant` of the model's zero action."""
    return lambda observation, time_s: command


def uniform(low: NDArray[Any], high: NDArray[Any], *, seed: int) -> Policy:
    """A new command at every step, uniform between ``low`` and ``high`` [A]: what prefills a replay."""
    rng = np.random.default_rng(seed)
    return lambda observation, time_s: rng.uniform(low, high)


def clumsy(policy: Policy, noise: Policy, *, share: float) -> Policy:
    """``share`` of what ``policy`` wants and the rest of what ``noise`` wants: an honest attempt of a beginner."""
    return lambda observation, time_s: (
        share * np.asarray(policy(observation, time_s)) + (1 - share) * noise(observation, time_s)
    )


# -- cartpole ---------------------------------------------------------------------------------------------------------


def hold_upright(observation: Observation, time_s: float) -> Command:
    """LQR about the upright pole, N."""
    names = ("cart_position", "pole_angle", "cart_velocity", "pole_velocity")
    return np.array([LQR @ [observation[name][0] for name in names]])


def swing_up(observation: Observation, time_s: float) -> Command:
    """Pump energy into the pole, keeping the cart near the middle, and catch it with the LQR; N.

    Åström & Furuta 2000, "Swinging up a pendulum by energy control".
    """
    x, speed, rate = (float(observation[name][0]) for name in ("cart_position", "cart_velocity", "pole_velocity"))
    sine, cosine = observation["pole_direction"].tolist()
    angle = math.atan2(sine, cosine)
    if abs(angle) < 0.5 and abs(rate) < 4.0:
        return np.array([LQR @ (x, angle, speed, rate)])
    # J, negative while the pole is too slow to reach the top.
    missing = 0.5 * POLE_INERTIA * rate**2 + POLE_MASS * 9.81 * POLE_CENTRE_M * (cosine - 1.0)
    return 1.1 * np.array([np.clip(60.0 * missing * rate * cosine, -8.0, 8.0) - 2.0 * x - speed])


# -- panda ------------------------------------------------------------------------------------------------------------


def panda_tool(joints: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the tool is in the base's frame, [3] m, and its Jacobian [3, 7] m/rad, at joint positions [7] rad."""
    frame = np.eye(4)
    axes = []
    for (a, d, alpha), angle in zip(PANDA_LINKS, joints, strict=True):
        ca, sa, c, s = math.cos(alpha), math.sin(alpha), math.cos(angle), math.sin(angle)
        frame = frame @ np.array(
            [[c, -s, 0, a], [s * ca, c * ca, -sa, -d * sa], [s * sa, c * sa, ca, d * ca], [0, 0, 0, 1]]
        )
        axes.append((frame[:3, 2], frame[:3, 3]))
    tool = frame[:3, 3] + PANDA_TOOL_M * frame[:3, 2]
    return tool, np.stack([np.cross(axis, tool - origin) for axis, origin in axes], axis=1)


def reach(observation: Observation, time_s: float) -> Command:
    """Resolved-rate control, rad/s: the tool goes towards the target at 3 times its distance a second."""
    _, jacobian = panda_tool(observation["joint_position"].astype(np.float64))
    error = observation["target_position"] - observation["tool_position"]
    # Damped least squares: near a stretched arm the plain inverse would ask for boundless speeds.
    return jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 0.01 * np.eye(3), 3.0 * error)


# -- A1 ---------------------------------------------------------------------------------------------------------------


def stand(observation: Observation, time_s: float) -> Command:
    """The default pose, rad."""
    return A1_HOME


def trot(observation: Observation, time_s: float) -> Command:
    """An open-loop trot ahead at some 0.4 m/s, rad: a sine of the thighs, and knees that bend while a leg swings.

    Its numbers are what a cross-entropy search over returns at 0.5 m/s found; it looks at nothing.
    """
    command, size = A1_HOME.copy(), min(1.0, max(0.0, time_s - 0.6))  # it lands first
    for leg in range(4):  # FR, FL, RR, RL: diagonal legs together
        phase = 2 * math.pi * TROT_HZ * time_s + (0.0 if leg in (0, 3) else math.pi)
        swing = max(0.0, math.sin(phase))
        command[3 * leg + 1] += size * (0.176 + 0.13 * math.cos(phase))
        command[3 * leg + 2] += size * (0.132 - 0.514 * swing)
    return command


# -- racecar ----------------------------------------------------------------------------------------------------------


def pursue(observation: Observation, time_s: float) -> Command:
    """Steer at the goal at 1 m/s, and back off from one inside the turning circle; wheels and hinges, rad/s."""
    forward, left = observation["goal_position"].tolist()
    inside = math.hypot(forward, abs(left) - RACECAR_TURN_M) < RACECAR_TURN_M
    bearing = math.atan2(left, forward) if not inside else -math.copysign(math.pi, left)
    wanted = np.clip(bearing, -RACECAR_STEERING_RAD, RACECAR_STEERING_RAD)
    return np.array([-20.0 if inside else 20.0, 20.0 * (wanted - observation["steering_angle"][0])])
