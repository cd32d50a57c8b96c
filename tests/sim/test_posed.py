"""A robot in the pose that its observed fields tell."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from robot_wm.posed import posed_robot, robot_on_stage
from robot_wm.tasks import agent_spec, make_env
from robot_wm_sim.frames import rotate_inverse
from robot_wm_sim.posed import PosedTask, leaning
from robot_wm_sim.robot import Mimic

STEPS = 12


@pytest.fixture(params=["a1_velocity", "panda_reach", "cartpole_balance", "cartpole_swingup"])
def played(request):
    """A task's environment, and what it told and where its joints [J] and base really were, step by step."""
    with make_env(request.param) as env:
        env.action_space.seed(1)
        seen, joints, bases = [env.reset(seed=4)[0]], [], []
        for step in range(STEPS):
            joints.append(env.unwrapped.sim.state.joint_position.copy())
            bases.append(env.unwrapped.sim.state.base_quaternion.copy())
            if step < STEPS - 1:
                seen.append(env.step(env.action_space.sample())[0])
        obs = {name: np.stack([one[name] for one in seen]) for name in seen[0]}
        yield env, obs, np.stack(joints), np.stack(bases)


def test_a_pose_is_where_the_robot_was(played):
    env, obs, joints, bases = played
    robot = posed_robot(env, agent_spec(env))
    poses = robot.poses(obs)
    assert robot.joints == env.unwrapped.task.scene.robot.joint_names
    turns = np.round((poses.joints - joints) / (2 * np.pi)) * 2 * np.pi  # a direction tells no turns
    told = [n for n, name in enumerate(robot.joints) if "finger" not in name]  # the gripper is told by nothing
    np.testing.assert_allclose(poses.joints[:, told], (joints + turns)[:, told], atol=1e-5)
    down = (0.0, 0.0, -1.0)
    for pose, base in zip(poses.base_quaternion, bases, strict=True):
        np.testing.assert_allclose(rotate_inverse(pose, down), rotate_inverse(base, down), atol=1e-5)
    assert poses.known().all()


def test_a_picture_is_the_one_of_that_pose(played):
    env, obs, joints, _ = played
    robot, sim = posed_robot(env, agent_spec(env)), env.unwrapped.sim
    first = robot.picture(robot.poses(obs), 0)
    np.testing.assert_allclose(sim.state.joint_position[0], joints[0][0], atol=1e-5)
    last = robot.picture(robot.poses(obs), STEPS - 1)
    assert (first != last).any()
    np.testing.assert_array_equal(robot.picture(robot.poses(obs), 0), first)


def test_a_description_looks_as_pictures_do(played):
    env, *_ = played
    robot = posed_robot(env, agent_spec(env))
    ghost = ElementTree.fromstring(robot.description((1.0, 0.5, 0.0, 0.25)))
    shown = ElementTree.fromstring(robot.description())
    shapes = sum(1 for _ in ElementTree.parse(env.unwrapped.task.scene.robot.urdf).iter("collision"))
    for root in (ghost, shown):
        assert len(list(root.iter("visual"))) >= min(shapes, 1)
        assert not list(root.iter("collision"))
        assert {joint.get("name") for joint in root.iter("joint")} >= set(robot.joints)
        assert all(Path(mesh.get("filename")).is_file() for mesh in root.iter("mesh"))
    assert {colour.get("rgba") for colour in ghost.iter("color")} == {"1.0 0.5 0.0 0.25"}
    assert len({colour.get("rgba") for colour in shown.iter("color")}) > 1


def test_a_step_of_which_a_field_is_unknown_has_no_pose(played):
    env, obs, *_ = played
    name = "joint_position" if "joint_position" in obs else "cart_position"
    lacking = obs | {name: obs[name].copy()}
    lacking[name][3, 0] = np.nan
    poses = posed_robot(env, agent_spec(env)).poses(lacking)
    assert np.flatnonzero(~poses.known()).tolist() == [3]
    assert all(np.isnan(part[3]).all() for part in poses)


@pytest.mark.parametrize(("roll", "pitch"), [(0.0, 0.0), (0.4, 0.0), (0.0, -0.7), (-1.2, 0.5), (3.0, 0.2)])
def test_a_lean_is_that_of_gravity(roll, pitch):
    """Of gravity in the axes of a base that was pitched and then rolled; written out by hand."""
    gravity = np.array([[np.sin(pitch), -np.cos(pitch) * np.sin(roll), -np.cos(pitch) * np.cos(roll)]])
    (quaternion,) = leaning(gravity)
    np.testing.assert_allclose(rotate_inverse(quaternion, (0.0, 0.0, -1.0)), gravity[0], atol=1e-12)
    assert np.linalg.norm(quaternion) == pytest.approx(1.0)


def test_a_joint_that_follows_another_is_where_it_follows_to():
    with make_env("cartpole_balance") as env:
        task, spec = env.unwrapped.task, agent_spec(env)
        slider, hinge = task.scene.robot.joints
        follower = replace(hinge, mimics=Mimic(joint="slider", multiplier=-2.0, offset=0.25))
        task.scene = replace(task.scene, robot=replace(task.scene.robot, joints=(slider, follower)))
        blind = spec.model_copy(update={"observations": spec.observations[:1]})  # nothing tells the hinge
        poses = PosedTask(task, env.unwrapped.sim, blind).poses({"cart_position": np.array([[0.5], [-0.1]])})
    np.testing.assert_allclose(poses.joints, [[0.5, -0.75], [-0.1, 0.45]])


def test_a_robot_that_no_field_poses_is_told_so():
    with make_env("racecar_goal") as env:
        spec = agent_spec(env)
        assert posed_robot(env, spec) is None
    with robot_on_stage("racecar_goal", {}, spec) as (robot, why):
        assert robot is None
        assert "no field tells" in why
    with robot_on_stage("somebodys_task", {}, spec) as (robot, why):
        assert robot is None
        assert "unknown task 'somebodys_task'" in why
