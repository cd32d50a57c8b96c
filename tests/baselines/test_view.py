"""A baseline sees the numbers that our actor sees and commands by the mapping that our actor commands by."""

import numpy as np
import pytest
import torch

from robot_wm.baselines.view import ModelEnv, ModelView
from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.errors import UserError
from robot_wm.runtime.transform import to_command, to_policy
from robot_wm.tasks import agent_spec
from robot_wm.training.actor import Actor


class Spy:
    """An environment that remembers what it was told and what it told."""

    def __init__(self, env):
        self.env, self.commands, self.observations = env, [], []
        self.unwrapped = env.unwrapped

    def reset(self, **options):
        self.observations.append(self.env.reset(**options)[0])
        return self.observations[-1], {}

    def step(self, command):
        self.commands.append(np.array(command))
        observation, *rest = self.env.step(command[0] if np.ndim(command) == 2 else command)
        self.observations.append(observation)
        return observation, *rest


@pytest.fixture
def spied(build_env):
    return Spy(build_env("a1_velocity"))


def episodes(env, rng, lengths):
    """Observations [steps, D] and actions [steps, A] of random episodes."""
    seen, actions = [], []
    for seed, length in enumerate(lengths):
        seen.append(env.reset(seed=seed)[0])
        for _ in range(length):
            actions.append(rng.uniform(-1, 1, env.action_space.shape).astype(np.float32))
            seen.append(env.step(actions[-1])[0])
    return np.stack(seen), np.stack(actions)


def test_a_baseline_sees_bit_by_bit_what_our_actor_sees(spied, monkeypatch):
    spec = agent_spec(spied)
    seen, _ = episodes(ModelEnv(spied, history=spec.history_length), np.random.default_rng(0), [6, 3])
    agent = DreamerAgent(DreamerConfig(size="nano"), spec.model_inputs(), spec.action_dim, spec.action.is_discrete)
    told, tick = [], agent.tick

    def listen(inputs, *rest):
        told.append(torch.cat([inputs[name] for name in spec.model_inputs()], dim=-1).numpy().copy())
        return tick(inputs, *rest)

    monkeypatch.setattr(agent, "tick", listen)
    actor = Actor(agent, spec, envs=1, seed=0)
    for step, observation in enumerate(spied.observations):
        batch = {name: value[None] for name, value in observation.items()}
        actor.act(batch, np.array([step in (0, 7)]))
    np.testing.assert_array_equal(seen, np.concatenate(told))
    assert np.abs(seen).max() > 0.1


def test_an_action_commands_what_the_robot_would_be_commanded(spied):
    spec = agent_spec(spied)
    _, actions = episodes(ModelEnv(spied, history=1), np.random.default_rng(1), [5])
    commands = np.stack(spied.commands)
    np.testing.assert_array_equal(commands, to_command(spec.action, actions))
    np.testing.assert_allclose(to_policy(spec.action, commands), actions, atol=1e-5)
    view = ModelView(spec, history=1)
    offset, reach = np.array(spec.action.offset), np.array(spec.action.scale) * spec.action.clip
    np.testing.assert_allclose(view.command(np.zeros((1, 12)))[0], offset, rtol=1e-6)
    np.testing.assert_allclose(view.command(np.full((1, 12), -1.0))[0], offset - reach, rtol=1e-6)
    np.testing.assert_array_equal(view.command(np.full((1, 12), 7.0)), view.command(np.ones((1, 12))))


def test_history_lays_each_fields_frames_together_oldest_first_and_starts_full_of_the_first(build_env):
    env, frames = build_env("cartpole_swingup"), 3
    single, _ = episodes(ModelEnv(env, history=1), np.random.default_rng(2), [5, 4])
    stacked, _ = episodes(ModelEnv(env, history=frames), np.random.default_rng(2), [5, 4])
    sizes = [field.shape[0] for field in agent_spec(env).observations]
    starts = [0] * 6 + [6] * 5  # of the episode that each row belongs to
    for row, start in enumerate(starts):
        window = single[[max(start, row - back) for back in range(frames - 1, -1, -1)]]  # [F, D]
        fields = np.split(window, np.cumsum(sizes)[:-1], axis=1)
        np.testing.assert_array_equal(stacked[row], np.concatenate([field.ravel() for field in fields]))
    assert stacked.shape == (11, frames * sum(sizes))


def test_history_replaces_the_specs_own(build_env):
    spec = agent_spec(build_env("cartpole_balance"))
    longer = spec.model_copy(update={"history_length": 4})
    assert ModelView(longer, history=2).size == ModelView(spec, history=2).size == 8


def test_environments_side_by_side_see_what_each_would_alone(build_env):
    spec = agent_spec(build_env("cartpole_balance"))
    rng = np.random.default_rng(3)
    frames = [
        {field.name: rng.normal(size=(2, *field.shape)).astype(np.float32) for field in spec.observations}
        for _ in range(6)
    ]
    firsts = np.array([[True, True], [False, False], [False, True], [False, False], [True, False], [False, False]])
    together = ModelView(spec, history=3, envs=2)
    both = np.stack([together.see(frame, first) for frame, first in zip(frames, firsts, strict=True)])  # [T, 2, D]
    for n in range(2):
        view = ModelView(spec, history=3)
        alone = [
            view.see({name: value[n] for name, value in frame.items()}, bool(first[n]))
            for frame, first in zip(frames, firsts, strict=True)
        ]
        np.testing.assert_array_equal(both[:, n], np.concatenate(alone))


def test_an_observation_keeps_its_numbers_while_the_episode_goes_on(build_env):
    env = ModelEnv(build_env("cartpole_balance"), history=2)
    first, _ = env.reset(seed=0)
    kept = first.copy()
    for _ in range(3):
        env.step(np.ones(1, np.float32))
    np.testing.assert_array_equal(first, kept)


def test_the_last_step_of_an_episode_tells_its_return_length_end_and_figures(build_env):
    raw = build_env("a1_velocity")
    env = ModelEnv(raw, history=1)
    for _ in range(2):  # the second one counts from zero again
        env.reset(seed=4)
        rewards, terminated, info = [], False, {}
        while not terminated and len(rewards) < 400:
            assert info == {}
            # Legs thrown from one end of their reach to the other: the robot falls.
            _, reward, terminated, _, info = env.step(np.full(12, (-1.0) ** (len(rewards) // 5), np.float32))
            rewards.append(reward)
        ended = info["ended"]
        assert (ended["terminated"], ended["length"]) == (True, len(rewards))
        assert ended["episode_return"] == pytest.approx(sum(rewards))
        assert tuple(ended["figures"]) == raw.unwrapped.figure_names
        assert ended["figures"]["fall"] == 1.0


@pytest.mark.parametrize(
    ("task", "options", "word"),
    [("cartpole_balance", {"observation": "image"}, "image"), ("gym:gymnasium:CartPole-v1", {}, "discrete")],
)
def test_refuses_in_one_line_what_baselines_do_not_learn(build_env, task, options, word):
    with pytest.raises(UserError, match=word):
        ModelEnv(build_env(task, **options), history=1)
