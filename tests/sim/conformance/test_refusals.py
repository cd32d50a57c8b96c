"""What every backend refuses, and in which words."""

from dataclasses import replace

import numpy as np
import pytest
from rigs import RATE_HZ

from robot_wm.errors import UserError
from robot_wm_sim.drive import Drive
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.robot import Joint
from robot_wm_sim.robots.cartpole import CARTPOLE
from robot_wm_sim.robots.racecar import RACECAR
from robot_wm_sim.scene import Scene


def test_a_joint_or_a_link_that_the_description_lacks_is_named(build_sim):
    robot = replace(CARTPOLE, joints=(*CARTPOLE.joints, Joint(name="elbow")))
    with pytest.raises(UserError, match=r"cartpole.urdf has no moving joint 'elbow'; it has \['hinge', 'slider'\]"):
        build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ))
    with pytest.raises(UserError, match="no link 'hand'; it has"):
        build_sim(Scene(robot=CARTPOLE, physics_rate_hz=RATE_HZ)).link_pose("hand")
    with pytest.raises(UserError, match=r"no description file|cannot read the URDF"):
        build_sim(Scene(robot=replace(CARTPOLE, description=CARTPOLE.description / "no"), physics_rate_hz=RATE_HZ))


def test_a_closed_backend_says_so(build_sim):
    sim = build_sim(Scene(robot=CARTPOLE, physics_rate_hz=RATE_HZ))
    sim.close()
    sim.close()
    with pytest.raises(RuntimeError, match="closed"):
        sim.save()


def test_a_fixed_base_cannot_be_placed_elsewhere(build_sim):
    sim = build_sim(Scene(robot=CARTPOLE, physics_rate_hz=RATE_HZ, ground=False))
    with pytest.raises(ValueError, match="cartpole has a fixed base"):
        sim.place(joint_position=np.ones(2), base_position=(0.0, 0.0, 1.0))
    sim.run(Drive.holding_home(CARTPOLE), 1)
    np.testing.assert_allclose(sim.state.block, [0.0, 0.0, 0.0, 0.0, *[0.0] * 6, 1.0, *[0.0] * 8], atol=1e-12)
    assert sim.link_pose("rail")[0].tolist() == [0.0, 0.0, 0.0]


def test_a_robot_that_floats_cannot_be_compensated():
    with pytest.raises(UserError, match="robot racecar: gravity_compensation needs a fixed base"):
        replace(RACECAR, gravity_compensation=True)


def test_a_rule_of_friction_that_is_none_is_named():
    with pytest.raises(UserError, match="scene: friction_combine is 'sum', but must be one of multiply, average, min"):
        Scene(robot=RACECAR, physics_rate_hz=RATE_HZ, friction_combine="sum")


NOT_THERE = (
    (Dynamics(mass_scale={"hand": 1.1}), r"dynamics: mass_scale: robot cartpole has no link 'hand'; it has \['cart'"),
    (Dynamics(joint_damping={"elbow": 1.0}), "dynamics: joint_damping: robot cartpole has no joint 'elbow'; it has"),
)


@pytest.mark.parametrize(("dynamics", "message"), NOT_THERE)
def test_what_is_varied_must_be_there_else_nothing_is(build_sim, dynamics, message):
    traces = []
    for varied in (replace(dynamics, gravity=(1.0, 2.0, 3.0), friction=0.1), None):
        sim = build_sim(Scene(robot=CARTPOLE, physics_rate_hz=RATE_HZ, ground=False))
        if varied is not None:
            with pytest.raises(UserError, match=message):
                sim.vary(varied)
        assert sim.dynamics == Dynamics()
        sim.place(joint_position=np.array([0.0, 0.1]))
        sim.run(Drive.holding_home(CARTPOLE), 50)
        traces.append(sim.state.block.tobytes())
    assert traces[0] == traces[1]
