"""What an environment draws for an episode, on its way from the reset to the stored episode."""

from pathlib import Path

import numpy as np
import pytest
import torch

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.errors import UserError
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.store import EpisodeStore
from robot_wm.training.collector import InlineCollector
from robot_wm.training.env_pool import EnvPool
from robot_wm.training.experience import Experience
from robot_wm.training.loop import Trainer

DRAWN, COUNTER, UNLIKE = (f"gym:toy_envs:toys/{name}-v0" for name in ("Drawn", "Counter", "Unlike"))
DRAW = 2  # entry of the toy's state: what it drew at the reset


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.mark.parametrize("processes", [0, 2])
def test_every_step_of_an_episode_tells_the_draw_of_its_reset(processes):
    with EnvPool(DRAWN, {"length": 2}, envs=3, processes=processes) as pool:
        assert pool.randomisation_names == ("payload_kg", "friction")
        idle = np.zeros((3, pool.agent_spec.action_dim), np.float32)
        steps = [pool.reset()] + [pool.step(idle) for _ in range(8)]
    for k, step in enumerate(steps):
        episode = k // 3 + 1
        assert step.is_first.tolist() == [k % 3 == 0] * 3
        np.testing.assert_array_equal(step.randomisation[:, 0].astype(np.float32), step.obs["state"][:, DRAW])
        # Only every second episode tells the other one.
        friction = episode / 8 if episode % 2 == 0 else np.nan
        np.testing.assert_array_equal(step.randomisation[:, 1], [friction] * 3)
    assert len({step.randomisation[0, 0] for step in steps}) == 3  # a draw an episode


@pytest.mark.parametrize("processes", [0, 1])
def test_an_environment_that_draws_nothing_has_no_column_of_it(processes):
    with EnvPool(COUNTER, envs=2, processes=processes) as pool:
        assert pool.randomisation_names == ()
        assert pool.reset().randomisation.shape == (2, 0)


def test_simulators_that_draw_different_quantities_are_refused():
    with pytest.raises(UserError, match=r"environments 1\.\.1 .*randomisation names .*env_pool_1.*env_pool_0"):
        EnvPool(UNLIKE, envs=2, processes=2)


@pytest.mark.parametrize("task", [DRAWN, COUNTER])
def test_a_stored_episode_tells_its_own_draw(tiny_dreamer, tmp_path, task):
    pool = EnvPool(task, {"length": 3, "observation": "proprio"}, envs=2, processes=2)
    spec = pool.agent_spec
    torch.manual_seed(0)
    agent = DreamerAgent(tiny_dreamer, spec.model_inputs(), spec.action_dim, spec.action.is_discrete).eval()
    store = EpisodeStore.create(tmp_path / "store", spec)
    names = {"figure_names": pool.figure_names, "randomisation_names": pool.randomisation_names}
    sampler = SequenceSampler(spec, capacity_steps=100, length=2, streams=2, stored=agent.stored)
    experience = Experience(spec, sampler, store, streams=2, backends=["none"] * 2, **names)
    collector = InlineCollector(pool, agent, seed=1)
    try:
        for _ in range(10):
            for transition in collector.poll():
                experience.add(transition)
    finally:
        collector.close()
    experience.close()  # two whole episodes of each, and of the third what there is
    stored = list(store.episodes())
    assert len(stored) == 6
    told = [episode.source.randomisation for episode in stored]
    if task == COUNTER:
        assert told == [None] * 6
        assert not any("randomisation" in episode.source.model_dump() for episode in stored)
        return
    assert [sorted(draw) for draw in told] == [["payload_kg"]] * 2 + [["friction", "payload_kg"]] * 2 + [
        ["payload_kg"]
    ] * 2
    for episode, draw in zip(stored, told, strict=True):
        np.testing.assert_array_equal(episode.obs["state"][:, DRAW], np.float32(draw["payload_kg"]))


def test_a_run_stores_the_draws_of_its_task(tiny):
    trainer = Trainer(tiny(task=DRAWN, task_options={"length": 4, "observation": "proprio"}, steps=40))
    trainer.train()
    for episode in trainer.store.episodes():
        drawn = episode.source.randomisation["payload_kg"]
        np.testing.assert_array_equal(episode.obs["state"][:, DRAW], np.float32(drawn))
