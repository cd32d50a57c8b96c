"""What only MuJoCoBackend does: drives inside the model, MuJoCo's contact forces, pictures, descriptions, refusals."""

import logging
import os
import subprocess
import sys
import warnings
from dataclasses import replace

import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from rigs import SLIDER

from robot_wm.errors import UserError
from robot_wm_sim import opengl
from robot_wm_sim.drive import Drive
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.frames import from_yaw, rotate
from robot_wm_sim.mujoco_backend import MuJoCoBackend
from robot_wm_sim.robot import Joint, Robot
from robot_wm_sim.robots.a1 import A1
from robot_wm_sim.robots.cartpole import CARTPOLE
from robot_wm_sim.robots.panda import PANDA
from robot_wm_sim.robots.racecar import RACECAR
from robot_wm_sim.scene import GROUND_COLOUR, Box, Camera, Checker, Marker, Scene

RATE_HZ = 500.0
TASKS = ("a1_velocity", "a1_stand", "cartpole_balance", "cartpole_swingup", "panda_reach", "racecar_goal")


@pytest.fixture(params=["mujoco"])
def backend(request):
    return request.param


def worst_errors(sim, drive, steps):
    """Run the drive's equation in Python over `mj_step`, as drive.py has it; the largest differences to `sim`'s run.

    Position and velocity along MuJoCo's own axes, effort along the motors'.
    """
    snapshot = sim.save()
    sim.run(drive, steps)
    model, data = sim.mujoco_parts
    expected = [data.qpos.copy(), data.qvel.copy(), sim.state.joint_effort[sim._motor_rows].copy()]
    sim.restore(snapshot)
    model.actuator_gainprm[:], model.actuator_biasprm[:] = 0.0, 0.0
    compensated = sim.scene.robot.gravity_compensation
    model.body_gravcomp[:] = 0.0
    joints = [model.joint(motor.name) for motor in sim.scene.robot.motors]
    q, v = [joint.qposadr[0] for joint in joints], [joint.dofadr[0] for joint in joints]
    still = mujoco.MjData(model)
    for step in range(steps):
        gravity = 0.0
        if compensated:
            still.qpos[:] = data.qpos  # and at rest
            mujoco.mj_forward(model, still)
            gravity = still.qfrc_bias[v]
        wanted = drive.position + drive.velocity * step / RATE_HZ
        effort = (
            drive.effort + gravity + drive.kp * (wanted - data.qpos[q]) + drive.kd * (drive.velocity - data.qvel[v])
        )
        data.qfrc_applied[v] = np.clip(effort, -drive.limit, drive.limit)
        mujoco.mj_step(model, data)
    found = [data.qpos, data.qvel, data.qfrc_applied[v]]
    return [np.abs(a - b).max() for a, b in zip(found, expected, strict=True)]


@pytest.mark.parametrize("robot", [A1, PANDA, RACECAR], ids=lambda robot: robot.name)
def test_the_models_drives_are_the_drives_equation_step_by_step(build_sim, robot):
    sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ))
    rng = np.random.default_rng(0)
    drive = Drive.holding_home(robot)
    sim.place(joint_position=np.array([joint.home for joint in robot.joints]))
    sim.run(drive, 200)
    clipped = drive.limit / (drive.kp + 1.0) * rng.uniform(-2.0, 2.0, drive.kp.size)  # rad; half of them saturate
    drive.position += clipped
    drive.velocity += rng.uniform(-1.0, 1.0, drive.kp.size)
    drive.effort += 0.3 * drive.limit * rng.uniform(-1.0, 1.0, drive.kp.size)
    position, velocity, effort = worst_errors(sim, drive, 20)
    assert position < 1e-9
    assert velocity < 1e-7
    assert effort < 1e-6


def test_contact_forces_are_mujocos_own(build_sim):
    sim = build_sim(Scene(robot=A1, physics_rate_hz=RATE_HZ))
    links = ("trunk", "FR_toe", "FL_toe", "RR_toe", "RL_toe", "FR_lower", "RL_hip")
    model, data = sim.mujoco_parts
    seen = 0
    sim.place(joint_position=np.array([joint.home for joint in A1.joints]), base_position=(0.0, 0.0, 0.3))
    for kp in (20.0, 0.0):  # it stands, then it lies
        drive = Drive.holding_home(A1)
        drive.kp[:] = kp
        for _ in range(20):
            sim.run(drive, 25)
            expected = dict.fromkeys(links, 0.0)
            for index in range(data.ncon):
                force = np.zeros(6)
                mujoco.mj_contactForce(model, data, index, force)
                for shape in data.contact[index].geom:
                    name = model.body(model.geom_bodyid[shape]).name
                    if name in expected:
                        expected[name] += force[0]
            assert sim.contact_forces(links) == pytest.approx(list(expected.values()), abs=1e-9)
            seen += data.ncon
    assert seen > 100
    assert expected["trunk"] > 1.0


def test_fixed_links_keep_their_names_and_the_description_its_masses(build_sim):
    sim = build_sim(Scene(robot=A1, physics_rate_hz=RATE_HZ))
    model, _ = sim.mujoco_parts
    assert model.body_mass.sum() == pytest.approx(12.458)
    for robot, links in ((A1, ("imu_link", "FR_toe")), (PANDA, ("panda_grasptarget",)), (RACECAR, ("camera_link",))):
        sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ))
        assert len(sim.link_positions(links)) == len(links)


def test_what_other_engines_do_not_read_is_not_read(build_sim, tmp_path):
    """Friction and damping of joints, a mimic joint, looks, and an element for MuJoCo alone."""
    text = CARTPOLE.description.read_text()
    dressed = text.replace(
        '<axis xyz="0 1 0"/>', '<axis xyz="0 1 0"/><mimic joint="slider"/><dynamics damping="3" friction="2"/>'
    ).replace(
        "</robot>",
        '<mujoco><compiler fusestatic="true" angle="degree"/></mujoco>'
        '<link name="hat"><visual><geometry><mesh filename="package://no/such.obj"/></geometry></visual></link>'
        '<joint name="on" type="fixed"><parent link="pole"/><child link="hat"/></joint></robot>',
    )
    assert dressed.count("<") == text.count("<") + 16
    path = tmp_path / "dressed.urdf"
    path.write_text(dressed)
    for joints in (CARTPOLE.joints, CARTPOLE.joints[:1]):  # a joint that the robot does not list is as free
        traces = []
        for description in (CARTPOLE.description, path):
            robot = replace(CARTPOLE, description=description, joints=joints)
            sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False))
            drive = Drive.holding_home(robot)
            drive.effort[:] = 2.0
            sim.run(drive, 300)
            traces.append(np.concatenate([sim.state.block, sim.link_pose("pole")[1]]))
        np.testing.assert_allclose(traces[0], traces[1], atol=1e-12)
    sim.link_pose("hat")


def test_a_description_that_cannot_be_loaded_is_named(build_sim, tmp_path):
    text = CARTPOLE.description.read_text()
    path = tmp_path / "broken.urdf"
    for broken, message in (
        (text.replace('<mass value="0.1"/>', '<mass value="0"/>'), "joint hinge: what it moves .* has a mass of 0 kg"),
        (text.replace('<box size="4.2 0.04 0.04"/>', '<mesh filename="no.obj"/>'), "link rail: no mesh 'no.obj'"),
        (text.replace('ixx="', 'ixx="9'), "broken.urdf: link rail: inertia: its principal moments"),
        ("<robot", "broken.urdf: not XML"),
    ):
        path.write_text(broken)
        with pytest.raises(UserError, match=message):
            build_sim(Scene(robot=replace(CARTPOLE, description=path), physics_rate_hz=RATE_HZ))


def test_what_mujoco_derives_from_masses_follows_them_there_and_back(build_sim):
    """Softness of contacts and the solver's scale hang on it; bit by bit the compiler's own at the end."""
    sim = build_sim(Scene(robot=A1, physics_rate_hz=RATE_HZ))
    model, _ = sim.mujoco_parts
    derived = ("body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0", "actuator_acc0")
    built = {name: getattr(model, name).copy() for name in derived}
    sim.vary(Dynamics(mass_scale=dict.fromkeys(sim._bodies, 2.0)))
    for name, power in zip(derived, (1, -1, -1, 1, -1), strict=True):
        np.testing.assert_allclose(getattr(model, name), built[name] * 2.0**power, rtol=1e-9, err_msg=name)
    sim.vary(Dynamics())
    for name in derived:
        np.testing.assert_array_equal(getattr(model, name), built[name], err_msg=name)


def test_a_centre_of_mass_that_was_the_links_origin_moves(build_sim):
    """MuJoCo marks such links when it compiles, and does not look at the centre of one that is marked."""
    sim = build_sim(Scene(robot=A1, physics_rate_hz=RATE_HZ))
    model, data = sim.mujoco_parts
    marked = [link for link, body in sim._bodies.items() if model.body_sameframe[body] == 1]
    for offset in ((0.0, 0.0, 0.0), (0.01, 0.02, -0.03)):
        sim.vary(Dynamics(com_offset={marked[0]: offset}))
        sim.place(joint_position=np.ones(12), base_position=(0.0, 0.0, 1.0), base_quaternion=from_yaw(0.5))
        position, quaternion = sim.link_pose(marked[0])
        centre = data.xipos[model.body(marked[0]).id]
        np.testing.assert_allclose(centre - position, rotate(quaternion, offset), atol=1e-12)


def test_a_centre_of_mass_cannot_move_where_mujoco_or_the_firmware_does_not_know_of_it(build_sim, tmp_path):
    sim = build_sim(Scene(robot=PANDA, physics_rate_hz=RATE_HZ))
    with pytest.raises(UserError, match="com_offset: not of robot franka_panda, which has gravity_compensation"):
        sim.vary(Dynamics(com_offset={"panda_link4": (0.1, 0.0, 0.0)}))
    path = tmp_path / "slider.urdf"
    path.write_text(SLIDER)
    robot = Robot(name="slider", description=path, joints=(Joint(name="slide"),), firmware="none", fixed_base=True)
    sim = build_sim(Scene(robot=robot, physics_rate_hz=RATE_HZ, ground=False))
    with pytest.raises(UserError, match="com_offset of block: backend mujoco has compiled it as centred in its origin"):
        sim.vary(Dynamics(com_offset={"block": (0.1, 0.0, 0.0)}))


def test_a_world_that_blows_up_stays_so_and_is_logged_not_written_into_the_folder(
    build_sim, monkeypatch, tmp_path, caplog
):
    monkeypatch.chdir(tmp_path)
    sim = build_sim(Scene(robot=CARTPOLE, physics_rate_hz=RATE_HZ, ground=False))
    sim.place(joint_position=np.zeros(2), joint_velocity=np.array([1e15, 0.0]))
    with caplog.at_level(logging.WARNING):
        sim.run(Drive.holding_home(CARTPOLE), 10)
    assert not abs(sim.state.joint_velocity[0]) < 1e10  # not a number, maybe, but not back at home
    assert "unstable" in caplog.text
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("task", TASKS)
def test_tasks_pass_gymnasiums_checker(build_env, monkeypatch, task):
    monkeypatch.delenv("DISPLAY", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on SI ranges, which are meant
        check_env(build_env(task, observation="proprio", backend="mujoco"), skip_render_check=True)


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_fixes_an_episode_whatever_ran_before(build_env, task):
    def episode(env, seed):
        rng, trace = np.random.default_rng(seed), []
        observation, _ = env.reset(seed=seed)
        for _ in range(25):
            trace.append([value.tobytes() for value in observation.values()])
            observation, reward, *_ = env.step(rng.uniform(env.action_space.low, env.action_space.high).astype("f4"))
            trace.append(reward)
        return trace

    used, fresh = (build_env(task, observation="proprio", backend="mujoco") for _ in range(2))
    first = episode(used, 7)
    episode(used, 8)
    assert episode(used, 7) == first == episode(fresh, 7)


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_the_checker_lies_where_the_scene_says_and_only_for_people(build_seeing_sim):
    side, half, pixels = 0.3, 1.0, 200
    scene = Scene(robot=RACECAR, physics_rate_hz=RATE_HZ, checker=Checker(side=side))
    sim = build_seeing_sim(scene)
    sim.place(joint_position=np.zeros(6), base_position=(30.0, 30.0, 0.0))
    for x, y in ((0.0, 0.0), (3.0, -2.0)):
        lens_deg = 2 * np.degrees(np.arctan(half / 3))
        camera = Camera(eye=(x, y, 3.0), target=(x, y + 1e-3, 0.0), vertical_fov_deg=lens_deg, for_people=True)
        picture = sim.render(camera, height=pixels, width=pixels)[:, :, 0]
        centres = (np.arange(pixels) + 0.5) / pixels * 2 * half - half
        column, row = (x + centres) / side, (y - centres) / side  # along the picture's columns and rows
        dark = (np.floor(column)[None, :] + np.floor(row)[:, None]) % 2 == 0
        inside = (np.abs(column - np.round(column)) > 0.05)[None, :] & (np.abs(row - np.round(row)) > 0.05)[:, None]
        colours = np.where(dark, scene.checker.colour[0], GROUND_COLOUR[0])  # the light comes from the camera
        np.testing.assert_allclose(picture[inside] / 255, colours[inside], atol=0.01)
        plain = sim.render(replace(camera, for_people=False), height=pixels, width=pixels)
        assert np.ptp(plain[:, :, 0]) <= 1


def test_boxes_markers_and_links_have_their_colours_places_and_sizes(build_seeing_sim):
    scene = Scene(
        robot=replace(RACECAR, colours={"base_link": (0.0, 0.0, 1.0, 1.0)}),
        physics_rate_hz=RATE_HZ,
        ground=False,
        boxes=(Box(name="wall", half_extents=(0.2, 0.1, 0.1), position=(1.0, 0.0, 0.0), colour=(1.0, 0.0, 0.0, 1.0)),),
        markers=(Marker(name="post", radius=0.1, height=0.4, colour=(0.0, 1.0, 0.0, 1.0)),),
    )
    sim = build_seeing_sim(scene)
    sim.place(joint_position=np.zeros(6), base_position=(-1.0, 0.0, 0.0), base_quaternion=from_yaw(0.5))
    sim.move_marker("post", (0.0, 0.0, 0.2))
    # From far along -y, so that nearly nothing is foreshortened: 4 m across 400 pixels.
    camera = Camera(
        eye=(0.0, -50.0, 0.0), target=(0.0, 0.0, 0.0), vertical_fov_deg=2 * np.degrees(np.arctan(1 / 50)), far=99.0
    )
    picture = sim.render(camera, height=200, width=400).astype(int)

    def extent(channel):
        """Of what is red, green or blue: leftmost, rightmost, lowest, highest, m."""
        strongest = picture[:, :, channel] > 2 * np.delete(picture, channel, axis=2).max(axis=2) + 50
        rows, columns = np.nonzero(strongest)
        return (
            (columns.min() - 200) / 100,
            (columns.max() - 199) / 100,
            (99 - rows.max()) / 100,
            (100 - rows.min()) / 100,
        )

    assert extent(0) == pytest.approx((0.8, 1.2, -0.1, 0.1), abs=0.011)
    assert extent(1) == pytest.approx((-0.1, 0.1, 0.0, 0.4), abs=0.011)
    assert -1.2 < extent(2)[0] < extent(2)[1] < -0.5
    assert picture[0, 0].tolist() == [255, 255, 255]


def test_a_camera_sees_nothing_nearer_than_near_nor_further_than_far(build_seeing_sim):
    marker = Marker(name="ball", radius=0.3, colour=(1.0, 0.0, 0.0, 1.0))
    sim = build_seeing_sim(Scene(robot=RACECAR, physics_rate_hz=RATE_HZ, ground=False, markers=(marker,)))
    camera = Camera(eye=(0.0, -3.0, 5.0), target=(0.0, 0.0, 5.0))
    sim.move_marker("ball", (0.0, 0.0, 5.0))
    for near, far, seen in ((0.02, 20.0, True), (3.4, 20.0, False), (0.02, 2.6, False)):
        picture = sim.render(replace(camera, near=near, far=far), height=32, width=32)
        assert (picture[16, 16, 1] < 100) == seen


@pytest.mark.parametrize("name", ["disable", "wgl", "osmesa"])
def test_where_nothing_can_draw_one_line_says_what_to_install(build_sim, monkeypatch, name):
    monkeypatch.setenv("MUJOCO_GL", name)
    monkeypatch.setenv("PYOPENGL_PLATFORM", "neither")  # refuses osmesa, wherever it is installed
    sim = build_sim(Scene(robot=CARTPOLE, physics_rate_hz=RATE_HZ, ground=False))
    with pytest.raises(UserError, match=f"^MuJoCo cannot draw.*{name}.*; install libegl1 .* or libosmesa6"):
        sim.render(Camera(eye=(0.0, -1.0, 2.0), target=(0.0, 0.0, 0.0)), height=8, width=8)


def test_without_any_library_one_line_says_what_to_install(build_sim, monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(opengl, "LIBRARIES", {"egl": "libno.so.1", "osmesa": "libnone.so.8"})
    sim = build_sim(Scene(robot=CARTPOLE, physics_rate_hz=RATE_HZ, ground=False))
    with pytest.raises(UserError, match="neither EGL nor OSMesa is installed; install libegl1"):
        sim.render(Camera(eye=(0.0, -1.0, 2.0), target=(0.0, 0.0, 0.0)), height=8, width=8)


def test_a_program_that_forgets_to_close_ends_without_a_word(build_seeing_sim):
    code = (
        "from robot_wm.tasks import make_env; e = make_env('racecar_goal', backend='mujoco'); e.reset(); print('mine')"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MUJOCO_GL")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == ("mine\n", "")


def test_a_closed_backend_frees_its_pictures(build_seeing_sim):
    sim = build_seeing_sim(Scene(robot=CARTPOLE, physics_rate_hz=RATE_HZ, ground=False))
    camera = Camera(eye=(0.0, -1.0, 2.0), target=(0.0, 0.0, 0.0))
    sim.render(camera, height=8, width=8)
    painter = sim._painter
    sim.close()
    painter.close()
    with pytest.raises(RuntimeError, match="this MuJoCoBackend is closed"):
        sim.render(camera, height=8, width=8)
    assert isinstance(sim, MuJoCoBackend)
