"""Training over several physics engines at once, each episode in a world of its own: what is built and told."""

import math

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm.evaluation.driven import driven
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.tasks import backend_names, environment_options, make_env
from robot_wm.training.batched_evaluation import evaluate
from robot_wm.training.env_pool import EnvPool
from robot_wm.training.loop import Trainer

BOTH = "pybullet,mujoco"


def test_engines_alternate_from_one_environment_to_the_next():
    options = {"backend": BOTH, "observation": "proprio"}
    chosen = [environment_options("a1_velocity", options, index)["backend"] for index in range(5)]
    assert chosen == ["pybullet", "mujoco", "pybullet", "mujoco", "pybullet"]
    assert environment_options("a1_velocity", {"observation": "proprio"}, 3) == {"observation": "proprio"}
    # Another's environment may have an option of that name, which is its own.
    assert environment_options("gym:x:Y-v0", {"backend": "a,b"}, 1) == {"backend": "a,b"}
    assert backend_names("gym:x:Y-v0", {"backend": "a,b"}) == ("gymnasium",)


def test_one_environment_takes_the_first_engine():
    env = make_env("cartpole_balance", backend="mujoco, pybullet")
    assert env.unwrapped.sim.name == "mujoco"
    env.close()


@pytest.mark.parametrize("names", ["pybullet,", ",", ""])
def test_an_engine_without_a_name_is_refused(names):
    with pytest.raises(UserError, match="names no engine, or several with a comma between them"):
        backend_names("cartpole_balance", {"backend": names})


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_the_pool_s_worlds_are_those_of_each_environment_alone(processes):
    options = {"backend": BOTH, "randomisation": "sim2real"}
    with EnvPool("a1_velocity", options, envs=3, processes=processes, seed=3) as pool:
        first = pool.reset()
        names = pool.randomisation_names
        actions = np.tile(np.array(pool.agent_spec.action.offset, np.float32), (3, 1))
        step = pool.step(actions)
    for index, engine in enumerate(("pybullet", "mujoco", "pybullet")):
        env = make_env("a1_velocity", backend=engine, randomisation="sim2real")
        _, info = env.reset(seed=int(first.seed[index]))
        told = dict(zip(names, first.randomisation[index].tolist(), strict=True))
        assert {name: value for name, value in told.items() if math.isfinite(value)} == info["randomisation"]
        observation, *_ = env.step(actions[index])
        np.testing.assert_array_equal(step.obs["joint_position"][index], observation["joint_position"])
        env.close()


@pytest.mark.parametrize("processes", [0, 2])
def test_a_stored_episode_names_its_engine_and_its_world_and_comes_again_from_them(tiny, processes):
    options = {"backend": BOTH, "randomisation": "harsh"}
    trainer = Trainer(tiny(task="cartpole_balance", task_options=options, steps=130, processes=processes))
    trainer.train()
    episodes = list(trainer.store.episodes())
    assert {episode.source.backend for episode in episodes} == {"pybullet", "mujoco"}
    for episode in episodes:
        source = episode.source
        assert ("armature_s2" in source.randomisation) == (source.backend == "mujoco")
        if source.first_step:
            continue
        env = make_env("cartpole_balance", backend=source.backend)  # the log is enough
        observation, _ = env.reset(seed=source.seed, options={"randomisation": source.randomisation})
        for t in range(episode.length):
            for name, values in episode.obs.items():
                np.testing.assert_array_equal(values[t], observation[name])
            if t + 1 < episode.length:
                observation, *_ = env.step(episode.action[t])
        env.close()
    result = evaluate(trainer.agent, "cartpole_balance", options, episodes=2, longest=5)
    assert result["backend"] == BOTH


def test_fewer_environments_than_engines_are_refused(tiny):
    with pytest.raises(UserError, match="envs is 1, fewer than the engines pybullet, mujoco"):
        Trainer(tiny(task_options={"backend": BOTH}, envs=1))


def test_an_engine_that_is_not_there_is_refused_before_the_run_begins(tiny):
    config = tiny(task_options={"backend": "pybullet,mujco"})
    with pytest.raises(UserError, match="backend 'mujco' is not installed"):
        Trainer(config)
    assert not config.folder.exists()


def test_a_controller_drives_one_robot(tmp_path):
    robot = driven(tmp_path / "agent.rwm", config=SafetyConfig(), backend=BOTH)
    with pytest.raises(UserError, match="backend pybullet,mujoco: a controller drives one robot, in one engine"), robot:
        pass
