"""A run of MuZero by the training loop: searches are kept, replayed by priority, and a resume goes on bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from robot_wm.muzero.config import MuZeroConfig
from robot_wm.training.batched_evaluation import evaluate
from robot_wm.training.config import TrainConfig
from robot_wm.training.loop import Trainer
from robot_wm.training.updates import ReplayedUpdates, Spent

TINY = MuZeroConfig(
    size="nano", latent=16, simplex=4, units=16, projection_units=16, projection=8, bins=21, batch_size=4, unroll=3,
    td_steps=2, num_simulations=4, root_actions=4, root_policy=2, search_value_age=50, warmup=5,
)  # fmt: skip


@pytest.fixture
def config(tmp_path):
    def make(**changes):
        values = dict(
            agent="muzero", task="cartpole_balance", run_dir=tmp_path / "run", steps=150, envs=2, prefill_steps=60,
            train_ratio=8.0, replay_capacity_steps=200, log_every_steps=40, checkpoint_every_steps=100,
            eval_every_steps=100, eval_episodes=1, eval_episode_steps=20, predict_every_steps=100, device="cpu",
            muzero=TINY,
        )  # fmt: skip
        return TrainConfig(**{**values, **changes})

    return make


def arrays(trainer):
    """Copies of all that the next update depends on."""
    learner = {name: value.numpy().copy() for name, value in trainer.learner.state_dict().items()}
    return learner | {f"replay/{name}": value for name, value in trainer.sampler.state_dict().items()}


@pytest.mark.parametrize("task", ["cartpole_balance", "gym:gymnasium:CartPole-v1"])
@pytest.mark.parametrize("actor", ["inline", "process"])
def test_a_resumed_run_has_what_the_run_had_and_goes_on_from_it(config, actor, task):
    settings = config(actor=actor, task=task)
    first = Trainer(settings)
    first.train()
    assert first.state.updates > 10
    again = Trainer(settings, resume=True)
    for step in range(3):
        ours, theirs = arrays(first), arrays(again)
        assert ours.keys() == theirs.keys()
        differing = [name for name, value in ours.items() if not np.array_equal(value, theirs[name])]
        assert differing == [], f"after {step} updates"
        for trainer in (first, again):
            ReplayedUpdates(trainer.learner, trainer.sampler, Spent(), 4).run(1)
    assert ours["replay/priorities"].max() > 0
    assert len(again._actor_rngs) == 1


def test_what_the_actor_searched_is_in_the_replay_and_what_it_did_at_random_is_not(config):
    trainer = Trainer(config(train_ratio=0.001))  # hardly an update, which would search the others, too
    trainer.train()
    rings = trainer.sampler.rings
    known = rings.rows["search_weights"].astype(np.float32).sum(-1) > 0.5
    by_step = known[rings.slots(0, np.arange(rings.count[0]))]
    assert not by_step[:30].any()  # of two environments' 60
    assert by_step[31:].all()


def test_a_mixture_of_searched_and_unsearched_windows_is_searched_again_by_updates(config):
    trainer = Trainer(config())
    trainer.train()
    rings = trainer.sampler.rings
    known = rings.rows["search_weights"].astype(np.float32).sum(-1) > 0.5
    assert known[rings.slots(0, np.arange(30))].any()
    assert (trainer.run / "metrics.jsonl").read_text().count('"search/gain"') > 0


@pytest.mark.parametrize("eval_search", [False, True])
def test_greedy_evaluation_searches_where_the_config_says_so(config, eval_search):
    trainer = Trainer(config(muzero=TINY.model_copy(update={"eval_search": eval_search})))
    noise, explore = [], trainer.agent.explore
    trainer.agent.explore = lambda *given: noise.append(given[-1]) or explore(*given)
    evaluate(trainer.agent, "cartpole_balance", {}, episodes=1, longest=5)
    assert len(noise) == (5 if eval_search else 0)
    assert not any(given["noise/gumbel"].any() for given in noise)
    assert all(given["noise/root"].std() > 0.3 for given in noise)
