"""Robots with closed forms, small enough to be worked out by hand: what the conformance suite of backends uses."""

from dataclasses import replace

import numpy as np

from robot_wm.errors import UserError
from robot_wm_sim.drive import Drive
from robot_wm_sim.robots.cartpole import CARTPOLE

RATE_HZ = 500.0
GRAVITY = 9.81
# The cartpole of its description, without damping: masses kg, hinge to the pole's centre m, its inertia kg·m².
CART, POLE, HALF, INERTIA = 1.0, 0.1, 0.5, 0.0083333
COUPLED = (CART + POLE) * (INERTIA + POLE * HALF**2) - (POLE * HALF) ** 2
UNDAMPED = replace(CARTPOLE, joints=tuple(replace(joint, damping=0.0) for joint in CARTPOLE.joints))

INERTIAL = (
    '<inertial><mass value="{mass}"/><inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>'
)
LIMIT = '<limit lower="-50" upper="50" effort="1000" velocity="100"/>'
# A block of 2 kg that rises and slides, over a floor of its own that does not move.
SLEDGE = f"""<robot name="sledge">
  <link name="floor">{INERTIAL.format(mass=1)}<collision>
    <origin xyz="0 0 -0.5"/><geometry><box size="40 2 1"/></geometry></collision></link>
  <link name="lift">{INERTIAL.format(mass=0.001)}</link>
  <link name="block">{INERTIAL.format(mass=2)}<collision><origin xyz="0 0 0.05"/>
    <geometry><box size="0.2 0.2 0.1"/></geometry></collision></link>
  <joint name="up" type="prismatic"><parent link="floor"/><child link="lift"/><axis xyz="0 0 1"/>{LIMIT}</joint>
  <joint name="along" type="prismatic"><parent link="lift"/><child link="block"/><axis xyz="1 0 0"/>{LIMIT}</joint>
</robot>"""
# A ball of 1 kg that is put anywhere over the ground and falls.
BALL_M = 0.05  # its radius
BALL = f"""<robot name="ball">
  <link name="stand">{INERTIAL.format(mass=1)}</link>
  <link name="beam">{INERTIAL.format(mass=0.1)}</link>
  <link name="trolley">{INERTIAL.format(mass=0.1)}</link>
  <link name="ball">{INERTIAL.format(mass=1)}<collision>
    <geometry><sphere radius="{BALL_M}"/></geometry></collision></link>
  <joint name="x" type="prismatic"><parent link="stand"/><child link="beam"/><axis xyz="1 0 0"/>{LIMIT}</joint>
  <joint name="y" type="prismatic"><parent link="beam"/><child link="trolley"/><axis xyz="0 1 0"/>{LIMIT}</joint>
  <joint name="z" type="prismatic"><parent link="trolley"/><child link="ball"/><axis xyz="0 0 1"/>{LIMIT}</joint>
</robot>"""
# Two blocks on one rail, 0.6 m from middle to middle.
PAIR = f"""<robot name="pair">
  <link name="rail">{INERTIAL.format(mass=1)}</link>
  <link name="left">{INERTIAL.format(mass=1)}<collision>
    <geometry><box size="0.2 0.2 0.2"/></geometry></collision></link>
  <link name="right">{INERTIAL.format(mass=1)}<collision><origin xyz="0.6 0 0"/>
    <geometry><box size="0.2 0.2 0.2"/></geometry></collision></link>
  <joint name="first" type="prismatic"><parent link="rail"/><child link="left"/><axis xyz="1 0 0"/>{LIMIT}</joint>
  <joint name="second" type="prismatic"><parent link="rail"/><child link="right"/><axis xyz="1 0 0"/>{LIMIT}</joint>
</robot>"""
# A block of 2 kg on a level rail, and a wheel of 0.01 kg·m² whose collision shape says otherwise.
SLIDER = f"""<robot name="slider">
  <link name="rail">{INERTIAL.format(mass=1)}</link>
  <link name="block">{INERTIAL.format(mass=2)}</link>
  <link name="wheel">{INERTIAL.format(mass=1)}<collision><geometry><sphere radius="0.5"/></geometry></collision></link>
  <joint name="slide" type="prismatic"><parent link="rail"/><child link="block"/><axis xyz="1 0 0"/>{LIMIT}</joint>
  <joint name="turn" type="continuous"><parent link="rail"/><child link="wheel"/><axis xyz="0 0 1"/></joint>
</robot>"""
BLOCK_KG, WHEEL_KG_M2 = 2.0, 0.01


def free(robot):
    """Drives that push with nothing."""
    drive = Drive.holding_home(robot)
    drive.kp[:] = drive.kd[:] = 0.0
    return drive


def refusal(call):
    """The line with which ``call`` is refused, or None where the engine can do it."""
    try:
        call()
    except UserError as error:
        return str(error)
    return None


def dc_motor(limit, velocity, curve):
    """Least and largest effort of a motor, spelt as Isaac Lab's DCMotor does: the speed is cut, not the effort."""
    if curve is None:
        return -limit, limit
    stall, fastest = limit * curve.stall_ratio, curve.no_load_speed
    most = fastest * (1.0 + limit / stall)
    velocity = np.clip(velocity, -most, most)
    least = np.maximum(stall * (-1.0 - velocity / fastest), -limit)
    return least, np.minimum(stall * (1.0 - velocity / fastest), limit)


def follow(drive, steps, *, inertia, position=0.0, velocity=0.0, curve=None):
    """The oracle of one joint: `Drive`'s equation in plain NumPy, effort first, then speed, then place, at every step.

    Position, velocity and effort after that many physics steps under a drive of one motor, [1] each; ``inertia`` in kg
    or kg·m², ``curve`` a TorqueSpeedCurve.
    """
    q, v, effort = np.array([position]), np.array([velocity]), np.zeros(1)
    for step in range(steps):
        ahead = drive.position + drive.velocity * (step / RATE_HZ) - q
        wanted = drive.effort + drive.kp * ahead + drive.kd * (drive.velocity - v)
        effort = np.clip(wanted, *dc_motor(drive.limit, v, curve))
        v = v + effort / inertia / RATE_HZ
        q = q + v / RATE_HZ
    return q, v, effort
