"""What was planted in a robot's joints is found in its log, and what a log does not tell is said to be so."""

from dataclasses import replace

import numpy as np
import pytest
from planted import EFFORT_N_M, NAMES, Planted, Waving, hang, logged, still

from robot_wm_sim.actuators.actuator import Actuator, TorqueSpeedCurve
from robot_wm_sim.identification.certainty import alike, posterior
from robot_wm_sim.identification.identify import identify
from robot_wm_sim.identification.joint_log import Stretch
from robot_wm_sim.identification.parameters import Parameters, limbs
from robot_wm_sim.identification.plan import make_plan
from robot_wm_sim.identification.ranges_file import ranges
from robot_wm_sim.identification.replay import Replay
from robot_wm_sim.identification.rig import in_the_air
from robot_wm_sim.randomisation.ranges import NONE, Randomisation, load_randomisation
from robot_wm_sim.robots.a1 import A1
from robot_wm_sim.robots.panda import ARM, PANDA

NOISE = {"joint_position": 0.001, "joint_velocity": 0.05}
FRICTION, DAMPING, ARMATURE = (0.3, 0.15, 0.2), (0.06, 0.03, 0.1), (0.01, 0.02, 0.015)
DELAY_S = 0.024


def found_in(task, planted, engine, folder, **options):
    log, drawn = logged(task, planted, engine, folder, **options)
    return identify(log, task.scene, backend=engine, processes=1), drawn


def values(found, kind):
    return [found.estimate(kind, name).value for name in NAMES]


def test_what_was_planted_is_found_in_every_engine(backend, tmp_path):
    """Of each joint within a tenth, and the delay within 2 ms: what the issue asks for."""
    planted = Planted(
        friction=FRICTION,
        damping=DAMPING,
        armature=ARMATURE if backend == "mujoco" else (0.0,) * 3,  # Bullet's joints have none
        delay_s=DELAY_S,
        noise=NOISE,
        randomisation=Randomisation(motor_strength=0.85, joint_offset_rad={"plus_minus": 0.04}),
    )
    task = Waving(tmp_path)
    found, drawn = found_in(task, planted, backend, tmp_path / "log")
    np.testing.assert_allclose(values(found, "friction"), FRICTION, rtol=0.1)
    np.testing.assert_allclose(values(found, "damping"), DAMPING, rtol=0.1)
    if backend == "mujoco":
        np.testing.assert_allclose(values(found, "armature"), ARMATURE, rtol=0.1)
    offsets = [drawn[f"joint_offset_rad/{name}"] for name in NAMES]
    np.testing.assert_allclose(values(found, "bias"), offsets, atol=0.004)
    assert found.estimate("delay").value == pytest.approx(DELAY_S, abs=0.002)
    assert found.estimate("strength").value == pytest.approx(0.85, rel=0.02)
    assert found.reasons == ()
    assert all(one.error < 3 * NOISE["joint_position"] < one.error_before for one in found.errors)
    # And the file of it draws worlds that hold the robot.
    body = ranges(found, task.scene.robot, NONE)
    randomisation = Randomisation.model_validate(body)
    for quantity, planted_values in (("joint_friction", FRICTION), ("joint_damping_s", DAMPING)):
        low, high, _ = getattr(randomisation, quantity)
        assert low < min(planted_values) / EFFORT_N_M < max(planted_values) / EFFORT_N_M < high
        assert high < 1.5 * max(planted_values) / EFFORT_N_M
    for quantity, value in (("motor_strength", 0.85), ("action_latency_s", DELAY_S)):
        low, high, _ = getattr(randomisation, quantity)
        assert low < value < high < 1.2 * value
    assert randomisation.skip_where_impossible == ({"armature_s2"} if backend == "mujoco" else frozenset())


@pytest.mark.parametrize(("friction", "delay_s"), [(0.4, 0.0), (0.0, 0.032)])
def test_a_delay_is_told_from_friction(friction, delay_s, tmp_path):
    """Both let a joint lag behind; only one of them is there."""
    planted = Planted(friction=(friction,) * 3, delay_s=delay_s, noise=NOISE)
    found, _ = found_in(Waving(tmp_path), planted, "mujoco", tmp_path / "log")
    np.testing.assert_allclose(values(found, "friction"), friction, rtol=0.1, atol=0.01)
    assert found.estimate("delay").value == pytest.approx(delay_s, abs=0.002)


def test_a_robot_that_the_simulator_does_not_have_is_not_to_be_deployed(tmp_path):
    """Its motors have no effort left at half of their speed: no parameter that is sought does that."""
    slow = Actuator(torque_speed=TorqueSpeedCurve(no_load_speed=1.2))
    found, _ = found_in(Waving(tmp_path), Planted(actuator=slow, noise=NOISE), "mujoco", tmp_path / "log")
    assert any(name in reason and "%" in reason for reason in found.reasons for name in NAMES)


def test_a_joint_that_stood_still_is_said_to_tell_nothing(tmp_path):
    task = Waving(tmp_path)
    plan = still(make_plan(task.scene.robot, task.spec, duration_s=6.0), "wing")
    planted = Planted(friction=FRICTION, noise=NOISE)
    found, _ = found_in(task, planted, "mujoco", tmp_path / "log", plan=plan)
    assert not found.estimate("damping", "wing").is_informed
    assert not found.estimate("armature", "wing").is_informed
    assert found.estimate("bias", "wing").deviation <= 0.02  # as any robot's, and no range is made of that
    assert found.estimate("damping", "elbow").is_informed
    # Ranges are of the other two.
    low, high = ranges(found, task.scene.robot, NONE)["joint_friction"]
    assert 0.8 * min(FRICTION[:2]) / EFFORT_N_M < low < high < 1.2 * max(FRICTION[:2]) / EFFORT_N_M


def test_what_a_log_does_not_tell_is_taken_over(tmp_path):
    task = Waving(tmp_path)
    found, _ = found_in(task, Planted(delay_s=0.02), "mujoco", tmp_path / "log", duration_s=5.0)
    body = ranges(found, task.scene.robot, load_randomisation("sim2real"))
    assert body["friction"] == [0.3, 1.25]
    assert body["noise_std"]["joint_position"] == [0.0, 0.01]
    assert body["action_latency_s"] == pytest.approx([0.018, 0.022], abs=1e-4)  # 2 ms on either side, sure as it is
    sim2real = load_randomisation("sim2real").skip_where_impossible
    assert Randomisation.model_validate(body).skip_where_impossible == sim2real


def replayed(task, stretch, world, engine="mujoco"):
    from robot_wm_sim.backend import load_backend

    sim = load_backend(engine)(in_the_air(task.scene))
    try:
        return Replay(sim, task.spec, NAMES, stretch).run(world)
    finally:
        sim.close()


def world_of(task, engine, **chosen):
    """As built, but for the values of whole kinds."""
    parameters = Parameters(in_the_air(task.scene).robot, NAMES, engine)
    shares = parameters.as_built()
    for index, one in enumerate(parameters.all):
        if one.kind in chosen:
            shares[index] = one.share(chosen[one.kind])
    return parameters.world(shares)


def test_a_replay_is_what_the_environment_did(backend, tmp_path):
    """A command that is late by whole physics steps arrives in the same one as in an environment."""
    task = Waving(tmp_path)
    log, _ = logged(task, Planted(friction=(0.2,) * 3, delay_s=0.012), backend, tmp_path / "log", duration_s=4.0)
    # From the second sample on: before the first command had arrived the environment's drives braked.
    (stretch,) = log.fit
    position, velocity = replayed(task, stretch, world_of(task, backend, friction=0.2, delay=0.012), backend)
    np.testing.assert_allclose(position[1:], stretch.position[1:], atol=2e-4)
    np.testing.assert_allclose(velocity[1:], stretch.velocity[1:], atol=1e-2)


def test_delays_within_a_physics_step_differ(tmp_path):
    """By half a step as much as half as by a whole one: whoever searches sees a slope, and no stairs."""
    task = Waving(tmp_path)
    time_s = np.arange(100) / 50.0
    command = 0.3 + 0.3 * np.sin(6.0 * time_s)[:, None] * np.ones(3)
    stretch = Stretch(
        time_s=time_s, position=np.full((100, 3), 0.3), velocity=np.zeros((100, 3)), command_s=time_s, command=command
    )
    step_s = 1.0 / 250.0
    at = [replayed(task, stretch, world_of(task, "mujoco", delay=n * step_s / 2))[0] for n in (4, 5, 6)]
    whole, half = at[2] - at[0], at[1] - at[0]
    assert np.abs(whole).max() > 1e-3
    np.testing.assert_allclose(half, whole / 2, atol=0.02 * np.abs(whole).max())


def test_samples_between_two_physics_steps_are_between_them(tmp_path):
    task = Waving(tmp_path)
    time_s = np.arange(100) / 50.0
    command = 0.3 + 0.3 * np.sin(6.0 * time_s)[:, None] * np.ones(3)
    on_beat = Stretch(
        time_s=time_s, position=np.full((100, 3), 0.3), velocity=np.zeros((100, 3)), command_s=time_s, command=command
    )
    later = [replace(on_beat, time_s=np.concatenate([[0.0], time_s[1:] + late_s])) for late_s in (0.0, 0.0015, 0.004)]
    at, between, after = (replayed(task, one, world_of(task, "mujoco"))[0][1:] for one in later)
    assert np.abs(after - at).max() > 1e-3
    np.testing.assert_allclose(between, at + 0.0015 / 0.004 * (after - at), atol=1e-9)


def test_limbs_hang_on_the_base_by_one_joint_each():
    legs = limbs(replace(A1, fixed_base=True), A1.joint_names)
    assert legs == ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11))
    assert limbs(PANDA, ARM) == (tuple(range(7)),)


def test_the_rig_holds_the_base_and_shows_the_joints(backend, tmp_path):
    env = hang(Waving(tmp_path), Planted(), backend)
    try:
        observation, _ = env.reset(seed=0)
        np.testing.assert_allclose(observation["joint_position"], 0.3, atol=1e-6)
        base = env.sim.state.base_position.copy()
        for _ in range(20):
            observation, *_ = env.step(np.float32([0.3, 0.3, 0.8]))
        np.testing.assert_array_equal(env.sim.state.base_position, base)
        assert observation["joint_position"][2] > 0.4
        assert observation["joint_velocity"][2] != 0.0
    finally:
        env.close()


def test_what_is_known_beforehand_counts_as_much_as_the_log_leaves_open():
    """Two parameters, one of which the log tells to 0.1 and one to 1, in a Gaussian that can be worked out by hand."""
    rng = np.random.default_rng(0)
    slope = np.zeros((4000, 3))
    slope[:2000, 0], slope[2000:, 1] = 10.0, 1.0
    misfits = rng.normal(size=(4000, 1)) * np.sqrt(2000.0)
    share, known = np.array([0.7, 0.7, 0.7]), np.array([0.1, 1.0, np.inf])
    moved, deviation = posterior(share, misfits, slope, known)
    # The log: deviations 0.1 and 1; as sure as what is known, so half of the way to 0.5.
    np.testing.assert_allclose(moved, [0.6, 0.6, 0.7], atol=0.02)
    np.testing.assert_allclose(deviation, [0.1 / np.sqrt(2), 1.0 / np.sqrt(2), np.inf], rtol=0.1)


def test_samples_that_err_alike_count_once():
    rng = np.random.default_rng(0)
    white = rng.normal(size=(20000, 2))
    assert alike(white) == pytest.approx(1.0, abs=0.1)
    assert alike(np.repeat(white, 5, axis=0)) == pytest.approx(5.0, rel=0.1)
