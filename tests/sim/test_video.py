"""Pictures for people: a gait can be read from them, and they change nothing that an agent or physics sees."""

import ctypes.util
import itertools
import math
import os
from dataclasses import replace

import numpy as np
import pybullet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm_sim.backend import load_backend
from robot_wm_sim.chase import Chase
from robot_wm_sim.env import RobotEnv
from robot_wm_sim.frames import from_yaw, rotate
from robot_wm_sim.robots.a1 import A1, FEET, LEGS, TRUNK
from robot_wm_sim.scene import GROUND_COLOUR, Camera, Checker, Scene
from robot_wm_sim.task import VIDEO
from robot_wm_sim.tasks.a1 import A1Velocity
from robot_wm_sim.tasks.panda_reach import PandaReach
from robot_wm_sim.window import orbit

SIDE = Checker().side
HOME = np.array([joint.home for joint in A1.joints])
FROM_ABOVE = Camera(eye=(0.0, -0.001, 2.0), target=(0.0, 0.0, 0.0), vertical_fov_deg=20.0, for_people=True)
needs_display = pytest.mark.skipif("DISPLAY" not in os.environ, reason="a window needs an X display")


@pytest.fixture(scope="module", params=["pybullet", "mujoco"])
def sim(request):
    """An A1 in each engine that can draw here."""
    if request.param == "mujoco" and ctypes.util.find_library("EGL") is None:
        pytest.skip("MuJoCo needs libEGL to draw without a display")
    backend = load_backend(request.param)(A1Velocity("proprio", "").scene)
    yield backend
    backend.close()


def stand(sim, x=0.0, y=0.0, yaw=0.0):
    sim.place(joint_position=HOME, base_position=(x, y, 0.3), base_quaternion=from_yaw(yaw))


def video(sim):
    camera = replace(sim.scene.cameras[VIDEO], for_people=True)
    return sim.render(camera, height=120, width=160).astype(int)


def share_changed(one, other):
    """Of the pixels, where a channel differs by more than rounding does."""
    return (np.abs(one - other) > 12).any(axis=2).mean()


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (30.0, -20.25), (-7.25, 7.25)])
def test_squares_lie_on_the_worlds_grid_wherever_the_camera_looks(sim, x, y):
    stand(sim, x=x + 5.0)
    seen = {}
    for column, row in itertools.product((0, 1), repeat=2):
        place = (x + (column + 0.5) * SIDE, y + (row + 0.5) * SIDE, 0.0)
        camera = replace(FROM_ABOVE, eye=(place[0], place[1] - 0.001, 2.0), target=place)
        seen[column, row] = sim.render(camera, height=16, width=16)[8, 8].mean()
    corner = (round(x / SIDE) + round(y / SIDE)) % 2
    dark, light = ([value for (i, j), value in seen.items() if (i + j + corner) % 2 == odd] for odd in (0, 1))
    assert max(dark) < 0.8 * min(light)
    assert 0.5 < max(dark) / (255 * sum(sim.scene.checker.colour[:3]) / 3) <= 1.3
    assert 0.5 < max(light) / (255 * sum(GROUND_COLOUR[:3]) / 3) <= 1.3


def test_the_ground_moves_in_the_picture_when_the_robot_walks(sim):
    pictures = []
    for squares in (0, 1, 2):
        stand(sim, x=squares * SIDE)
        pictures.append(video(sim))
    start, one_square, two_squares = pictures
    assert share_changed(start, one_square) > 0.3
    assert share_changed(start, two_squares) < 0.02  # the pattern repeats, and the robot has stayed in the middle


def test_each_leg_has_a_colour_of_its_own_and_all_can_be_seen(sim):
    names = [*(f"{leg}_upper" for leg in LEGS), TRUNK, FEET[0]]
    colours = np.array([A1.colours[name][:3] for name in names])
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(colours, 2)) > 0.15
    stand(sim)
    picture = video(sim) / 255
    for colour in colours[:4]:  # whatever the light: the ratios of red, green and blue
        alike = picture @ colour / (np.linalg.norm(picture, axis=2) * np.linalg.norm(colour) + 1e-9)
        assert (alike > 0.98).sum() > 15
    for leg in LEGS:
        links = [f"{leg}_{link}" for link in ("hip", "upper_shoulder", "upper", "lower")]
        assert len({A1.colours[link] for link in links}) == 1


def test_the_camera_stays_level_and_beside_the_robot(sim):
    camera = sim.scene.cameras[VIDEO]
    for yaw in (0.0, 2.0, -3.0):
        stand(sim, x=4.0, y=-1.0, yaw=yaw)
        eye, target, up = Chase(camera).follow(sim, 0.0).viewpoint(*sim.link_pose(TRUNK))
        np.testing.assert_allclose(np.subtract(eye, (4.0, -1.0, 0.0)), rotate(from_yaw(yaw), camera.eye), atol=1e-6)
        np.testing.assert_allclose(np.subtract(target, (4.0, -1.0, 0.0)), camera.target, atol=1e-6)
        assert up == (0.0, 0.0, 1.0)


@given(st.lists(st.floats(0.01, 2.0), min_size=1, max_size=6), st.floats(-3.0, 3.0))
@example([1.0], 3.0)
@settings(max_examples=30, deadline=None)
def test_the_cameras_heading_lags_by_its_time_constant_however_often_it_is_asked(sim, pauses_s, start_rad):
    camera = replace(sim.scene.cameras[VIDEO], heading_lag_s=0.7)
    chase = Chase(camera)
    stand(sim, yaw=start_rad)
    chase.follow(sim, 0.0)
    stand(sim, yaw=start_rad + 1.0)  # past half a turn for some
    for time_s in itertools.accumulate(pauses_s):
        followed = chase.follow(sim, time_s)
    expected = start_rad + 1.0 - math.exp(-sum(pauses_s) / 0.7)
    np.testing.assert_allclose(followed.eye, rotate(from_yaw(expected), camera.eye), atol=1e-5)


def test_a_new_episode_begins_beside_the_robot(sim):
    chase = Chase(sim.scene.cameras[VIDEO])
    stand(sim)
    before = chase.follow(sim, 20.0)
    chase.reset()
    stand(sim, yaw=2.0)
    after = chase.follow(sim, 0.0)
    np.testing.assert_allclose(after.eye, rotate(from_yaw(2.0), before.eye), atol=1e-6)


def test_a_mounted_camera_takes_over_the_mounts_pose():
    camera = Camera(eye=(1.0, 0.0, 0.0), target=(2.0, 0.0, 0.0), mount="head")
    eye, target, up = camera.viewpoint((5.0, 6.0, 7.0), from_yaw(math.pi / 2))
    np.testing.assert_allclose((eye, target, up), ((5.0, 7.0, 7.0), (5.0, 8.0, 7.0), (0.0, 0.0, 1.0)), atol=1e-12)


@pytest.mark.parametrize("task", [PandaReach("both"), A1Velocity("both", "")])
def test_a_video_changes_neither_the_agents_pictures_nor_physics(task):
    traces = []
    for filmed in (False, True):
        env = RobotEnv(task, render_mode="rgb_array" if filmed else None)
        trace = [env.reset(seed=4)[0]]
        rng = np.random.default_rng(0)
        for _ in range(5):
            env.render()
            action = rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)
            trace.append(env.step(action)[0])
        traces.append([{name: value.tobytes() for name, value in step.items()} for step in trace])
        env.close()
    assert traces[0] == traces[1]


def test_plain_ground_is_what_agents_see(sim):
    stand(sim, x=5.0)
    sim.render(FROM_ABOVE, height=16, width=16)
    plain = sim.render(replace(FROM_ABOVE, for_people=False, vertical_fov_deg=40.0), height=32, width=32)
    assert plain.std(axis=(0, 1)).max() < 2
    assert sim.render(replace(FROM_ABOVE, vertical_fov_deg=40.0), height=32, width=32).std(axis=(0, 1)).max() > 10


def test_a_scene_without_ground_has_no_squares(build_seeing_sim):
    sim = build_seeing_sim(Scene(robot=A1, physics_rate_hz=500.0, ground=False))
    sim.place(joint_position=HOME, base_position=(5.0, 0.0, 0.3))
    assert (sim.render(FROM_ABOVE, height=16, width=16) == 255).all()


def test_the_a1_tells_its_command_beside_its_speed_and_the_feet_that_carry(build_env):
    env = build_env("a1_velocity", command="0.5,-0.25,1")
    env.reset(seed=0)
    for _ in range(60):
        env.step(HOME.astype(np.float32))
    panel = env.overlay()
    gauges = [panel[name] for name in ("forward", "left", "turn left")]
    assert [gauge.asked for gauge in gauges] == [0.5, -0.25, 1.0]
    assert [gauge.unit for gauge in gauges] == ["m/s", "m/s", "rad/s"]
    assert all(abs(gauge.actual) < 0.1 for gauge in gauges)
    assert panel["feet down"].split() == list(LEGS)
    env.sim.place(joint_position=HOME, base_position=(0.0, 0.0, 1.0))
    env.step(HOME.astype(np.float32))
    assert env.overlay()["feet down"].split() == ["--"] * 4
    assert build_env("cartpole_balance").overlay() == {}


@pytest.mark.parametrize("name", [None, "", ":9999"])
def test_without_a_display_there_is_one_line_and_the_process_lives(monkeypatch, name):
    monkeypatch.delenv("DISPLAY", raising=False)
    if name is not None:
        monkeypatch.setenv("DISPLAY", name)
    with pytest.raises(UserError, match=r"no display for a window: (DISPLAY is not set|libX11|nothing answers at)"):
        RobotEnv(A1Velocity("proprio", ""), render_mode="human")


@needs_display
def test_a_window_shows_the_robot_and_changes_nothing(capfd):
    traces = []
    for mode in (None, "human"):
        env = RobotEnv(PandaReach("proprio"), render_mode=mode)
        rng, trace = np.random.default_rng(0), [env.reset(seed=4)[0]]
        for _ in range(6):
            trace.append(env.step(rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32))[0])
        traces.append([{name: value.tobytes() for name, value in step.items()} for step in trace])
        if mode == "human":
            assert env.render() is None
            shown = env._window._world
            np.testing.assert_allclose(shown.state.joint_position, env.sim.state.joint_position)
            client, marker = shown._client, shown._markers["target"]
            np.testing.assert_allclose(
                client.getBasePositionAndOrientation(marker)[0], trace[-1]["target_position"], atol=1e-6
            )
            camera = env.task.scene.cameras[VIDEO]
            forward = np.subtract(camera.target, camera.eye)
            np.testing.assert_allclose(
                client.getDebugVisualizerCamera()[5], forward / np.linalg.norm(forward), atol=1e-3
            )
        env.close()
    assert traces[0] == traces[1]
    assert capfd.readouterr().out == ""  # that stream belongs to a command's JSON


@needs_display
def test_a_window_that_somebody_closes_is_told_in_one_line(build_env):
    env = build_env("a1_velocity", render="window")
    env.reset(seed=0)
    env._window._client.disconnect()  # as Escape does
    with pytest.raises(UserError, match="the window was closed"):
        env.render()


@given(st.floats(-3.0, 3.0), st.floats(0.1, 1.2), st.floats(0.5, 5.0))
def test_the_windows_orbit_looks_where_the_camera_does(yaw, height, distance):
    eye = rotate(from_yaw(yaw), (0.0, -distance, height))
    yaw_deg, pitch_deg, _ = orbit(eye, (0.0, 0.0, 0.0), 45.0)
    assert math.remainder(math.radians(yaw_deg) - yaw, 2 * math.pi) == pytest.approx(0.0, abs=1e-6)
    assert math.tan(math.radians(pitch_deg)) == pytest.approx(-height / distance)
    view = pybullet.computeViewMatrixFromYawPitchRoll((0, 0, 0), 1.0, yaw_deg, pitch_deg, 0.0, 2)
    looks = -np.array(view).reshape(4, 4)[:3, 2]
    np.testing.assert_allclose(looks, -np.array(eye) / np.linalg.norm(eye), atol=1e-5)
