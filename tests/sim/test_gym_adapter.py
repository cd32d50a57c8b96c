import ctypes.util
import os
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from robot_wm.errors import UserError
from robot_wm.spec import AgentSpec
from robot_wm.tasks import make_env

WALKER = "gym:shimmy:dm_control/walker-stand-v0"


class Probe(gymnasium.Env):
    """Gives a prepared observation, reward 1, 2, 3, … and remembers the actions that it got."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 40}  # noqa: RUF012
    observations = spaces.Box(-1.0, 1.0, (2,), np.float32)
    actions = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, render_mode=None, terminate_at=None, truncate_at=None, info=None):
        self.observation_space, self.action_space = self.observations, self.actions
        self.render_mode = render_mode
        self.terminate_at, self.truncate_at, self.info = terminate_at, truncate_at, info or {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        self.count, self.taken = 0, []
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.count += 1
        self.taken.append(action)
        observation = self.observation_space.sample()
        return observation, self.count, self.count == self.terminate_at, self.count == self.truncate_at, self.info

    def render(self):
        frame = np.zeros((20, 30, 3), np.uint8)
        frame[:10], frame[:, :15, 1] = 200, 100
        return frame


def probe(observations=None, actions=None, *, meanings=None, dt=None, options=None, register=None, **adapter):
    """The adapter around a Probe with these spaces."""
    body = {"observations": observations or Probe.observations, "actions": actions or Probe.actions}
    if meanings:
        body["get_action_meanings"] = lambda self: meanings
    if dt:
        body["dt"] = dt
    gymnasium.register("probe/Probe-v0", type("P", (Probe,), body), **(register or {}))
    try:
        return make_env("gym:gymnasium:probe/Probe-v0", **adapter, **(options or {}))
    finally:
        del gymnasium.registry["probe/Probe-v0"]


def test_nested_observations_become_named_vectors_and_images():
    env = probe(
        spaces.Dict(
            {
                "arm": spaces.Dict({"joints/pos": spaces.Box(-2, 2, (2, 3), np.float64), "0grip": spaces.Discrete(3)}),
                "height": spaces.Box(-np.inf, np.inf, (), np.float64),
                "pair": spaces.Tuple((spaces.MultiBinary(4), spaces.Box(0, 10, (1,), np.float64))),
                "camera": spaces.Box(0, 255, (6, 8, 3), np.uint8),
                "depth": spaces.Box(0, 255, (6, 8), np.uint8),
                "ram": spaces.Box(0, 255, (5,), np.uint8),
            }
        )
    )
    expected = {
        "arm_joints_pos": ((6,), "float32"),
        "arm_0grip": ((3,), "float32"),
        "height": ((1,), "float32"),
        "pair_0": ((4,), "float32"),
        "pair_1": ((1,), "float32"),
        "camera": ((6, 8, 3), "uint8"),
        "depth": ((6, 8, 1), "uint8"),
        "ram": ((5,), "float32"),
    }
    observation, _ = env.reset(seed=1)
    assert {field.name: (field.shape, field.dtype) for field in env.unwrapped.agent_spec.observations} == expected
    assert {name: (value.shape, value.dtype.name) for name, value in observation.items()} == expected
    assert env.observation_space.contains(observation)
    assert observation["arm_0grip"].sum() == 1
    assert AgentSpec.from_json(env.agent_spec.to_json()) == env.agent_spec


def test_values_are_those_of_the_wrapped_environment():
    env, plain = make_env("gym:gymnasium:Pendulum-v1"), gymnasium.make("Pendulum-v1")
    observation, _ = env.reset(seed=5)
    truth, _ = plain.reset(seed=5)
    for action in (-2.0, 0.5, 2.0):
        np.testing.assert_array_equal(observation["observation"], truth)
        observation, reward, *_ = env.step(np.float32([action]))
        truth, expected, *_ = plain.step(np.float32([action]))
        assert reward == expected


def test_rewards_of_repeated_steps_add_up():
    env = probe(action_repeat=3)
    env.reset(seed=0)
    assert [env.step([0.0])[1] for _ in range(2)] == [1 + 2 + 3, 4 + 5 + 6]
    assert (env.agent_spec.control_rate_hz, env.agent_spec.physics_rate_hz) == (pytest.approx(40 / 3), 40)
    assert env.agent_spec.physics_steps == 3


@pytest.mark.parametrize(("ending", "flags"), [("terminate_at", (True, False)), ("truncate_at", (False, True))])
def test_repetition_stops_where_the_episode_does(ending, flags):
    env = probe(action_repeat=3, options={ending: 5})
    env.reset(seed=0)
    assert env.step([0.0])[1:4] == (6.0, False, False)
    assert env.step([0.0])[1:4] == (4.0 + 5.0, *flags)


def test_time_limit_counts_control_steps_and_only_truncates():
    env = probe(action_repeat=2, time_limit=3)
    for _ in range(2):  # an episode starts counting anew
        env.reset()
        assert [env.step([0.0])[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]
    env = probe(time_limit=3, options={"terminate_at": 3})
    env.reset()
    assert [env.step([0.0])[2:4] for _ in range(3)][-1] == (True, True)


def test_time_limit_takes_the_place_of_the_registered_one():
    for limit, steps in ((None, 4), (6, 6), (2, 2)):
        env = probe(time_limit=limit, register={"max_episode_steps": 4})
        env.reset()
        ends = [env.step([0.0])[3] for _ in range(6)]
        assert ends.index(True) + 1 == steps


def test_box_actions_reach_the_environment_in_its_own_shape_type_and_range():
    low, high = np.array([[-0.1, 2.0]]), np.array([[0.3, 2.7]])
    env = probe(actions=spaces.Box(low, high, dtype=np.float64))
    env.reset(seed=0)
    env.step(env.action_space.high)  # rounded to float32, the bound lies outside; Probe refuses what is outside
    env.step(env.action_space.low)
    np.testing.assert_array_equal(env.env.unwrapped.taken, [high, low])
    spec = env.agent_spec.action
    np.testing.assert_allclose(spec.offset, [0.1, 2.35])
    np.testing.assert_allclose(spec.scale, [0.2, 0.35])
    assert spec.joints == ("action_0", "action_1")
    np.testing.assert_allclose(env.action_space.low, low[0], rtol=1e-6)


def test_discrete_actions_start_at_zero_and_carry_their_names():
    env = probe(actions=spaces.Discrete(3, start=-1), meanings=["left", "stay", "right"])
    env.reset(seed=0)
    for action in range(3):
        env.step(action)
    assert env.env.unwrapped.taken == [-1, 0, 1]
    assert env.agent_spec.action.joints == ("left", "stay", "right")
    assert env.agent_spec.action.is_discrete
    assert probe(actions=spaces.Discrete(2), meanings=["x", "x"]).agent_spec.action.joints == ("action_0", "action_1")


def test_control_rate_comes_from_dt_then_frames_per_second_then_the_option():
    assert probe(dt=0.02).agent_spec.control_rate_hz == 50
    assert probe().agent_spec.control_rate_hz == 40
    spec = probe(control_rate_hz=10.0, action_repeat=4).agent_spec
    assert (spec.control_rate_hz, spec.physics_rate_hz) == (10, 40)


def test_vectors_images_or_both():
    both = spaces.Dict({"v": spaces.Box(-1, 1, (2,)), "eye": spaces.Box(0, 255, (4, 4, 3), np.uint8)})
    names = {
        choice: set(probe(both, observation=choice).observation_space) for choice in (None, "proprio", "image", "both")
    }
    assert names == {None: {"v", "eye"}, "proprio": {"v"}, "image": {"eye"}, "both": {"v", "eye"}}
    env = probe(observation="both")  # has no image, so it is rendered
    observation, _ = env.reset(seed=0)
    assert {name: value.shape for name, value in observation.items()} == {"observation": (2,), "image": (64, 64, 3)}
    with pytest.raises(UserError, match="no vector observation"):
        probe(spaces.Box(0, 255, (4, 4, 3), np.uint8), observation="proprio")
    with pytest.raises(UserError, match=r"option observation: .*'touch'"):
        probe(observation="touch")


def test_images_are_averaged_to_the_size_asked_for():
    env = probe(observation="image", size=2)  # the frame has four quadrants
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observation["image"], [[[200, 100, 200], [200, 200, 200]], [[0, 100, 0], [0, 0, 0]]])
    grey = probe(spaces.Box(0, 255, (8, 6), np.uint8), size=4)
    assert grey.reset(seed=0)[0]["image"].shape == (4, 4, 1)


def test_success_is_found_under_either_name():
    env = probe(options={"info": {"is_success": 1.0}})
    env.reset(seed=0)
    assert env.step([0.0])[4]["success"] is True
    env = probe(options={"info": {"success": False}})
    env.reset(seed=0)
    assert env.step([0.0])[4]["success"] is False


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("gym:no_such_module:Id-v0", "cannot import 'no_such_module'"),
        ("gym:gymnasium:NoSuch-v0", "NoSuch"),
        ("gym:gymnasium:Pendulum-v9", "v9"),
        ("gym:gymnasium", "gym:<module>:<Id>"),
    ],
)
def test_unknown_names_are_the_users_error(task, told):
    with pytest.raises(UserError, match=told) as caught:
        make_env(task)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spaces_", "told"),
    [
        ({"actions": spaces.Box(-np.inf, 1.0, (2,))}, "unbounded"),
        ({"actions": spaces.Box(0.0, np.array([1.0, 0.0], np.float32))}, "empty"),
        ({"actions": spaces.MultiDiscrete([2, 3])}, "neither Discrete nor a Box"),
        ({"actions": spaces.Box(0, 3, (2,), np.int64)}, "neither Discrete nor a Box of floats"),
        ({"actions": spaces.Discrete(1)}, "no choice"),
        ({"observations": spaces.Text(5)}, "no fixed size"),
        ({"observations": spaces.Box(0, 255, (3, 64, 64), np.uint8)}, r"\(height, width, channels\)"),
        ({"observations": spaces.Dict({"a b": spaces.Discrete(2), "a_b": spaces.Discrete(2)})}, "same name"),
        ({"observations": spaces.Box(0, 255, (9, 9, 5), np.uint8), "size": 3}, "5 channels"),
        ({"action_repeat": 0}, "action_repeat is 0"),
        ({"time_limit": -1}, "time_limit is -1"),
        ({"control_rate_hz": -1.0}, "control_rate_hz is -1.0 Hz"),
        ({"no_such_option": 1}, "no_such_option"),
    ],
)
def test_what_cannot_be_learned_is_refused(spaces_, told):
    with pytest.raises(UserError, match=told):
        probe(**spaces_)


@pytest.mark.filterwarnings("ignore:.*WARN.*")  # check_env's advice on ranges
@pytest.mark.parametrize(
    "task", ["gym:gymnasium:CartPole-v1", "gym:gymnasium:Pendulum-v1", "gym:gymnasium:FrozenLake-v1"]
)
def test_adapted_environments_pass_gymnasiums_own_check(task):
    check_env(make_env(task, action_repeat=2), skip_render_check=True)


@pytest.fixture
def walker():
    pytest.importorskip("dm_control")
    pytest.importorskip("shimmy")
    env = make_env(WALKER, action_repeat=2)
    yield env
    env.close()


@pytest.mark.filterwarnings("ignore:.*")  # glfw without a display, check_env's advice
def test_deepmind_control_walker(walker):
    check_env(walker, skip_render_check=True)
    observation, _ = walker.reset(seed=3)
    assert {name: (value.shape, value.dtype.name) for name, value in observation.items()} == {
        "height": ((1,), "float32"),  # a scalar in dm_control
        "orientations": ((14,), "float32"),
        "velocity": ((9,), "float32"),
    }
    assert walker.agent_spec.control_rate_hz == pytest.approx(20)  # 25 ms, twice
    rewards, ends = [], []
    while not ends or not any(ends[-1]):
        _, reward, *end, _ = walker.step(walker.action_space.sample())
        rewards.append(reward)
        ends.append(tuple(end))
    assert len(ends) == 500  # 1,000 steps of dm_control
    assert ends[-1] == (False, True)
    assert 0 < sum(rewards) < 1000
    again, _ = walker.reset(seed=3)
    for name, value in observation.items():
        np.testing.assert_array_equal(again[name], value)


PIXELS = f"""
from robot_wm.tasks import make_env
lens = {{"width": 64, "height": 64, "camera_id": 0}}
env = make_env({WALKER!r}, action_repeat=2, observation="image", render_kwargs=lens)
image = env.reset(seed=0)[0]["image"]
print(image.shape, image.std() > 10)
"""


@pytest.mark.skipif(ctypes.util.find_library("EGL") is None, reason="MuJoCo needs libEGL to render without a display")
def test_deepmind_control_from_pixels():
    pytest.importorskip("dm_control")
    # MuJoCo chooses its renderer at import
    done = subprocess.run(
        [sys.executable, "-c", PIXELS],
        env={name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "DISPLAY")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split("\n")[0] == "(64, 64, 3) True", done.stderr
