"""`vary` in each backend against closed forms: each quantity does what it says, or is refused by name."""

import re

import numpy as np
import pytest
from rigs import BLOCK_KG, GRAVITY, RATE_HZ, SLEDGE, SLIDER, WHEEL_KG_M2, free, refusal

from robot_wm_sim.drive import Drive
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.robots.panda import PANDA
from robot_wm_sim.robots.racecar import RACECAR
from robot_wm_sim.scene import Scene

# An engine that cannot change these once a world is built may refuse them; all others every engine must change.
REFUSABLE = {"com_offset", "armature"}
NEVER_REFUSING = {"mujoco"}
# 1 kg, 0.2 m below its hinge.
PENDULUM = """<robot name="pendulum">
  <link name="stand"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>
  </link><link name="bob"><inertial><origin xyz="0 0 -0.2"/><mass value="1"/>
    <inertia ixx="0.1" iyy="0.1" izz="0.1" ixy="0" ixz="0" iyz="0"/></inertial></link>
  <joint name="hinge" type="continuous"><parent link="stand"/><child link="bob"/><axis xyz="0 1 0"/></joint>
</robot>"""


def vary_or_skip(sim, **fields):
    """Vary the backend, or see to it that it refuses by name, changes nothing, and may."""
    line = refusal(lambda: sim.vary(Dynamics(**fields)))
    if line is not None:
        (name,) = fields
        assert name in REFUSABLE
        assert sim.name not in NEVER_REFUSING
        assert re.match(rf"dynamics: {name}\b.*backend {sim.name} ", line)
        assert sim.dynamics == Dynamics()
        pytest.skip(line)
    assert sim.dynamics == Dynamics(**fields)


@pytest.fixture
def slider(describe, build_sim):
    """A block on a rail and a wheel, each with a motor without gains, and idle drives."""
    robot = describe(SLIDER, "slide", "turn")
    return build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False)), free(robot)


def test_friction_of_all_links(build_sim, describe):
    robot = describe(SLEDGE, "up", "along", friction=0.9)
    sim, drive = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ)), Drive.holding_home(robot)
    for friction in (0.4, 0.2, None):  # each is absolute; None is the robot's own
        sim.vary(Dynamics(friction=friction))
        sim.place(joint_position=np.zeros(2))
        sim.run(drive, 100)
        loss = GRAVITY * (0.9 if friction is None else friction)  # m/s²
        drive.effort[1] = 2.0 * (loss + 1.5)
        start = sim.state.joint_position[1]
        sim.run(drive, 500)
        assert 2 * (sim.state.joint_position[1] - start) == pytest.approx(1.5, rel=0.02)
        drive.effort[1] = 0.0


def test_friction_between_links_of_a_robot(build_sim, describe):
    robot = describe(SLEDGE, "up", "along", friction=0.9, self_collision=True)
    sim, drive = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False)), Drive.holding_home(robot)
    sim.vary(Dynamics(friction=0.5))
    sim.run(drive, 100)
    drive.effort[1] = 20.0
    sim.run(drive, 500)
    assert 2 * sim.state.joint_position[1] == pytest.approx(20.0 / 2.0 - GRAVITY * 0.25, rel=0.02)


def test_gravity_in_any_direction(build_sim):
    sim = build_sim(Scene(robot=RACECAR, physics_rate_hz=RATE_HZ, ground=False))
    sim.vary(Dynamics(gravity=(1.0, -0.5, -8.0)))
    sim.place(joint_position=np.zeros(6), base_position=(0.0, 0.0, 100.0))
    sim.run(free(RACECAR), 250)
    assert sim.state.base_linear_velocity == pytest.approx((0.5, -0.25, -4.0), abs=1e-6)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_mass_and_with_it_inertia(slider, scale):
    """A wheel's inertia is that of the description times the scale, and not that of its collision shape."""
    sim, drive = slider
    sim.vary(Dynamics(mass_scale={"block": scale, "wheel": scale}))
    drive.effort[:] = 4.0, 0.02
    sim.run(drive, 100)
    expected = np.array([4.0 / BLOCK_KG, 0.02 / WHEEL_KG_M2]) / scale * 100 / RATE_HZ
    np.testing.assert_allclose(sim.state.joint_velocity, expected, rtol=1e-9)


def test_mass_of_the_base(build_sim):
    """Twice the weight of a car's base is more on its wheels."""
    sim = build_sim(Scene(robot=RACECAR, physics_rate_hz=RATE_HZ))
    wheels = [name.removesuffix("_joint") for name in RACECAR.couplings["drive"]]
    weights = []
    for scale in (1.0, 2.0):
        sim.vary(Dynamics(mass_scale={"base_link": scale}))
        sim.run(Drive.holding_home(RACECAR), 1000)
        weights.append(sum(sim.contact_forces(wheels)))
    assert weights[1] - weights[0] == pytest.approx(4.2 * GRAVITY, rel=0.02)


def test_a_centre_of_mass_moves(build_sim, describe):
    robot = describe(PENDULUM, "hinge")
    sim, drive = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False)), free(robot)
    vary_or_skip(sim, com_offset={"bob": (0.3, 0.0, 0.0)})
    sim.run(drive, 1)
    # Falls about the y axis: alpha = m g x / (I + m L²).
    alpha = 1.0 * GRAVITY * 0.3 / (0.1 + 1.0 * (0.3**2 + 0.2**2))
    assert sim.state.joint_velocity[0] == pytest.approx(alpha / RATE_HZ, rel=1e-9)


def test_damping_of_joints(slider):
    """A speed decays as exp(-d t / m); a step's own error, of first order, is 0.5 % here."""
    sim, drive = slider
    sim.vary(Dynamics(joint_damping={"slide": 6.0}))
    sim.place(joint_position=np.zeros(2), joint_velocity=np.array([2.0, 2.0]))
    sim.run(drive, 250)
    assert sim.state.joint_velocity[0] == pytest.approx(2.0 * np.exp(-6.0 / BLOCK_KG * 0.5), rel=0.01)
    assert sim.state.joint_velocity[1] == pytest.approx(2.0, rel=1e-9)


def test_dry_friction_of_joints(slider):
    """It slows what moves at f / m and holds what stands."""
    sim, drive = slider
    sim.vary(Dynamics(joint_friction={"slide": 3.0}))
    sim.place(joint_position=np.zeros(2), joint_velocity=np.array([2.0, 2.0]))
    sim.run(drive, 200)
    np.testing.assert_allclose(sim.state.joint_velocity, [2.0 - 3.0 / BLOCK_KG * 0.4, 2.0], rtol=1e-6)
    sim.run(drive, 1000)
    assert sim.state.joint_velocity[0] == pytest.approx(0.0, abs=1e-9)
    drive.effort[0] = 2.9
    start = sim.state.joint_position[0]
    sim.run(drive, 500)
    assert sim.state.joint_position[0] - start == pytest.approx(0.0, abs=1e-5)
    drive.effort[0], before = 5.0, sim.state.joint_velocity[0]
    sim.run(drive, 500)
    assert sim.state.joint_velocity[0] - before == pytest.approx((5.0 - 3.0) / BLOCK_KG, rel=0.01)


def test_inertia_of_motors(slider):
    sim, drive = slider
    vary_or_skip(sim, armature={"turn": 0.03})
    drive.effort[:] = 4.0, 0.02
    sim.run(drive, 100)
    expected = np.array([4.0 / BLOCK_KG, 0.02 / (WHEEL_KG_M2 + 0.03)]) * 100 / RATE_HZ
    np.testing.assert_allclose(sim.state.joint_velocity, expected, rtol=1e-9)


@pytest.mark.parametrize("ran_before", [False, True])
def test_gravity_compensation_goes_on_believing_in_the_masses_as_built(build_sim, ran_before):
    """As an arm's firmware does, which knows of no load; whenever it was varied."""
    home = np.array([joint.home for joint in PANDA.joints])
    efforts = []
    for scale in (None, 1.5):
        sim = build_sim(Scene(robot=PANDA, physics_rate_hz=RATE_HZ))
        if ran_before:
            sim.run(free(PANDA), 1)
        if scale is not None:
            sim.vary(Dynamics(mass_scale={f"panda_link{number}": scale for number in range(1, 8)}))
        sim.place(joint_position=home)
        sim.run(free(PANDA), 1)
        efforts.append(sim.state.joint_effort.copy())
    assert np.abs(efforts[0]).max() > 5.0
    np.testing.assert_allclose(efforts[1], efforts[0], atol=1e-9)
    sim.run(free(PANDA), 100)
    assert np.abs(sim.state.joint_position - home).max() > 0.01  # too little for what it weighs
