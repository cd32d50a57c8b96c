"""That it learns: what a search finds in random experience becomes policy and value, and latents stay apart."""

import torch
from torch.nn import functional as F

from robot_wm.learning.batch import TensorBatch
from robot_wm.muzero.agent import MuZeroAgent
from robot_wm.muzero.config import MuZeroConfig
from robot_wm.muzero.learner import MuZeroLearner
from robot_wm.spec import InputShape

PLACES, DISCOUNT = 5, 0.8
SETTINGS = {
    "size": "nano", "latent": 32, "units": 32, "projection_units": 32, "projection": 16, "bins": 31,
    "reward_support": 2.0, "value_support": 5.0, "unroll": 3, "td_steps": 2, "discount": DISCOUNT, "batch_size": 64,
    "num_simulations": 8, "learning_rate": 3e-3, "warmup": 20, "reanalyse": 0.25, "target_rate": 0.05,
}  # fmt: skip


def chain(learner, size, generator):
    """Random walks along five places; the step from the last one to the right earns 1 and ends the episode."""
    steps = learner.config.batch_length + 1
    place = torch.randint(PLACES, (size,), generator=generator)
    first = torch.ones(size, dtype=torch.bool)
    rows = []
    reward, ended = torch.zeros(size), torch.zeros(size, dtype=torch.bool)
    for _ in range(steps):
        right = torch.rand(size, generator=generator) < 0.5
        right = right & ~ended
        shown = F.one_hot(place.clamp(max=PLACES - 1), PLACES).float() * (~ended[:, None])
        rows.append((shown, F.one_hot(right.long(), 2).float(), reward, first, ended))
        landed = torch.where(right, place + 1, (place - 1).clamp(min=0))
        over = landed == PLACES
        anew = torch.randint(PLACES, (size,), generator=generator)
        reward = torch.where(ended, 0.0, over.float())
        first = ended
        place, ended = torch.where(ended, anew, landed), over & ~ended
    obs, action, reward, first, ended = (torch.stack(column, 1) for column in zip(*rows, strict=True))
    stored = {entry.name: torch.zeros(size, steps, *entry.shape) for entry in learner.agent.stored}
    window = {"weight": torch.ones(size), "age": torch.zeros(size)}
    return TensorBatch(
        obs={"place": obs}, action=action, reward=reward, reward_known=torch.ones_like(first), is_first=first,
        is_last=ended, is_terminal=ended, stored=stored, window=window,
    )  # fmt: skip


def learner_of(inputs, *, action, discrete, **settings):
    config = MuZeroConfig(**{**SETTINGS, **settings})
    agent = MuZeroAgent(config, inputs, action, discrete, generator=torch.Generator().manual_seed(0))
    return MuZeroLearner(agent, config, "cpu")


def test_from_random_walks_it_learns_the_way_to_the_reward_and_what_each_place_is_worth():
    learner = learner_of({"place": InputShape(shape=(PLACES,), dtype="float32")}, action=2, discrete=True)
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        learner.update(chain(learner, 64, generator))
    agent = learner.agent
    with torch.no_grad():
        latent = agent.model.representation({"place": torch.eye(PLACES)})
        step = agent.latent_model().step(latent, torch.tensor([[0.0, 1.0]]).expand(PLACES, 2))
        policy, value = agent.model.policy(latent).first.softmax(-1), agent.model.value(latent)
    torch.testing.assert_close(step.reward, torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0]), atol=0.15, rtol=0)
    ends = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]) * DISCOUNT
    torch.testing.assert_close(step.discount, ends, atol=0.15, rtol=0)
    assert policy[:, 1].min() > 0.6
    assert (value.diff() > 0).all()  # the nearer, the better


def test_from_random_actions_it_learns_which_way_a_continuous_one_is_to_go():
    learner = learner_of({"at": InputShape(shape=(1,), dtype="float32")}, action=1, discrete=False)
    generator = torch.Generator().manual_seed(0)

    def batch(size=64):
        steps = learner.config.batch_length + 1
        at, rows = torch.rand(size, 1, generator=generator) * 2 - 1, []
        for _ in range(steps):
            action = torch.rand(size, 1, generator=generator) * 2 - 1
            rows.append((at, action, 1 - at[:, 0].abs()))
            at = (at + 0.3 * action).clamp(-1, 1)
        obs, action, reward = (torch.stack(column, 1) for column in zip(*rows, strict=True))
        flags = torch.zeros(size, steps, dtype=torch.bool)
        return TensorBatch(
            obs={"at": obs}, action=action, reward=reward, reward_known=~flags, is_first=flags, is_last=flags,
            is_terminal=flags, window={"weight": torch.ones(size), "age": torch.zeros(size)},
            stored={entry.name: torch.zeros(size, steps, *entry.shape) for entry in learner.agent.stored},
        )  # fmt: skip

    for _ in range(250):
        learner.update(batch())
    with torch.no_grad():
        at = torch.tensor([[-0.9], [-0.5], [0.5], [0.9]])
        mode = learner.agent.model.policy(learner.agent.model.representation({"at": at})).first[:, 0]
    assert mode[:2].min() > 0.15
    assert mode[2:].max() < -0.15


def test_what_h_sees_does_not_collapse_to_one_point():
    """The consistency loss has a trivial optimum: every state the same."""
    learner = learner_of(
        {"place": InputShape(shape=(PLACES,), dtype="float32")}, action=2, discrete=True, reanalyse=0.0
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        result = learner.update(chain(learner, 64, generator))
    assert result.metrics["loss/consistency"] < -0.6  # of -1: it was learned
    assert result.metrics["model/spread"] > 0.3  # with other walks 0.38 to 0.64
    with torch.no_grad():
        latent = learner.agent.model.representation({"place": torch.eye(PLACES)})
        seen = F.normalize(learner.agent.consistency.project(latent), dim=-1)
    assert (seen @ seen.T)[~torch.eye(PLACES, dtype=torch.bool)].mean() < 0.8
    # And where all states are one, the metric says so.
    with torch.no_grad():
        learner.agent.model.representation.out.weight.zero_()
    assert learner.update(chain(learner, 64, generator)).metrics["model/spread"] < 1e-3
