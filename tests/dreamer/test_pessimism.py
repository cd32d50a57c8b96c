"""What an ensemble disagrees about, how it learns, and what that does to the policy."""

import math

import pytest
import torch

from robot_wm.dreamer.pessimism import Pessimism, disagreement
from robot_wm.dreamer.world_model import Posterior
from robot_wm.nn.returns import lambda_return


def members(*classes: list[int], of: int = 4) -> torch.Tensor:
    """[K, 1, S, C] log-probabilities of members that are each sure of one class in every group."""
    hot = torch.nn.functional.one_hot(torch.tensor(classes), of).double()  # [K, S, C]
    return hot.clamp(min=1e-300).log()[:, None]


def test_members_that_agree_are_in_no_doubt():
    one = torch.log_softmax(torch.randn(1, 7, 3, 5, generator=torch.Generator().manual_seed(0)), -1)
    assert disagreement(one.expand(4, 7, 3, 5)).max() < 1e-6
    noise = torch.full((4, 7, 3, 5), -math.log(5.0))
    assert disagreement(noise).max() < 1e-6  # of which they all know nothing


@pytest.mark.parametrize(
    ("said", "nats"),
    [
        (([0, 1], [0, 1]), 0.0),
        (([0, 1], [0, 2]), math.log(2)),  # about one of two groups
        (([0, 1], [3, 2]), 2 * math.log(2)),
        (([0], [1], [2], [3]), math.log(4)),
        (([0], [0], [0], [1]), math.log(4) - 0.75 * math.log(3)),  # entropy of three to one
    ],
)
def test_sure_members_that_differ_are_in_doubt_by_the_entropy_of_what_they_say(said, nats):
    assert disagreement(members(*said)).item() == pytest.approx(nats, abs=1e-9)


def of(learner) -> Pessimism:
    found = learner._pessimism
    assert found is not None
    return found


def planted(learner, answer, *, steps=9, size=16, seed=0, actions=None):
    """A batch, and a posterior whose classes at each step ``answer`` the action before; features say nothing of it."""
    batch = dict(vars(learner_batch := workshop_batch(learner, size, steps, seed)))
    if actions is not None:
        batch["action"] = actions(learner_batch.action)
    batch = type(learner_batch)(**batch)
    config = learner.config
    led = batch.action[:, :-1].transpose(0, 1)  # [T, B, A] to each trained step
    classes = answer(led)[..., None].expand(*led.shape[:2], config.stoch)
    probs = torch.nn.functional.one_hot(classes, config.classes).float()
    feature = torch.full((steps, size, config.deter + config.stoch * config.classes), 0.1)
    return batch, Posterior(feature, probs, classes.to(torch.uint8))


def workshop_batch(learner, size, steps, seed):
    from sequences import Workshop

    return Workshop().batch(learner, size=size, length=steps, seed=seed)


def test_members_learn_what_an_action_leads_to(workshop):
    learner = workshop.learner(pessimism=1.0, units=32)
    losses = []
    for seed in range(300):
        batch, posterior = planted(learner, lambda action: (action[..., 0] > 0).long(), seed=seed)
        losses.append(float(of(learner).update(batch, posterior, torch.float32)["pessimism/loss"]))
    groups = learner.config.stoch
    assert losses[0] > 0.9 * groups * math.log(learner.config.classes)
    assert losses[-1] < 0.3 * groups * math.log(2)  # a step too early or too late would leave the whole of it


def test_what_was_never_done_is_in_more_doubt_than_what_was(workshop):
    learner = workshop.learner(pessimism=1.0, units=32, deter=1024)  # of features so many that two actions could drown
    for seed in range(60):
        batch, posterior = planted(
            learner,
            lambda action: (action[..., 1] > 0).long(),
            seed=seed,
            actions=lambda drawn: torch.stack([drawn[..., 0] * 0.2 + 0.8, drawn[..., 1]], -1),
        )
        of(learner).update(batch, posterior, torch.float32)
    feature = posterior.feature[:1]  # [1, B, F]
    second = torch.linspace(-1, 1, feature.shape[1])

    def doubt(first: float) -> float:
        action = torch.stack([torch.full_like(second, first), second], -1)[None]  # [1, B, A]
        return float(of(learner).doubt(feature, action).mean())

    assert doubt(-0.8) > 2 * doubt(0.8)


def test_an_action_is_taken_as_it_is_executed(workshop):
    learner = workshop.learner(pessimism=1.0)
    feature = torch.rand(2, 3, learner.config.deter + learner.config.stoch * learner.config.classes)
    beyond, border = torch.full((2, 3, 2), 7.0), torch.ones(2, 3, 2)
    assert torch.equal(of(learner).doubt(feature, beyond), of(learner).doubt(feature, border))


def test_a_step_that_begins_an_episode_follows_from_nothing(workshop):
    weights = []
    for change in (False, True):
        learner = workshop.learner(pessimism=1.0)
        batch, posterior = planted(learner, lambda action: (action[..., 0] > 0).long())
        batch.is_first[:] = False
        batch.is_first[:, 4] = True
        if change:  # trained steps begin at the batch's step 1
            posterior.probs[3] = torch.roll(posterior.probs[3], 1, -1)
        of(learner).update(batch, posterior, torch.float32)
        weights.append(torch.cat([p.detach().flatten() for p in of(learner).ensemble.parameters()]))
    assert torch.equal(*weights)


class Doubtful:
    """A stand-in whose doubt is known."""

    def __init__(self, scale, doubt):
        self.scale, self._doubt = scale, doubt

    def doubt(self, feature, action):
        return self._doubt(action)

    def update(self, batch, posterior, dtype, ranks):
        return {}

    def tensors(self):
        return {}


def test_a_nat_takes_its_price_off_each_imagined_reward(workshop):
    def imagined(nats):
        learner = workshop.learner()  # whose rewards and values are 0 yet
        learner._pessimism = Doubtful(0.5, lambda action: torch.full(action.shape[:2], nats))
        batch = workshop.batch(learner)
        with torch.no_grad():  # the episode goes on with one probability wherever it is
            learner.agent.cont.out.weight.zero_()
            learner.agent.cont.out.bias.fill_(2.0)
        return learner, learner.update(batch).metrics["imagined/return"].item()

    (learner, free), (_, dear) = imagined(0.0), imagined(3.0)
    going, horizon = torch.sigmoid(torch.tensor(2.0)), learner.config.horizon
    price = torch.full((horizon + 1,), 0.5 * 3.0)
    taken = lambda_return(price, going.expand(horizon + 1), None, torch.zeros(horizon + 1), mix=0.95)  # [H]
    assert free - dear == pytest.approx(taken.mean().item(), rel=1e-4)


def test_the_policy_keeps_to_what_is_known(workshop):
    """Rewards are the same everywhere; only the doubt about actions below zero is not."""
    learner = workshop.learner(learning_rate=3e-3, pessimism=1.0)
    learner._pessimism = Doubtful(1.0, lambda action: (action[..., 0] < 0).float())
    batch = workshop.batch(learner)
    feature = learner.update(batch).write_back["deter"]

    def first_action():
        rows = torch.cat([feature.flatten(0, 1), torch.zeros(feature[..., 0].numel(), 12)], -1)
        return learner.agent.actor(rows).first[:, 0].mean().item()

    before = first_action()
    for _ in range(60):
        learner.update(batch)
    assert first_action() > before + 0.3


def test_without_it_there_is_nothing_of_it(workshop):
    learner = workshop.learner()
    metrics = learner.update(workshop.batch(learner)).metrics
    assert not [name for name in (*metrics, *learner.state_dict()) if "pessimism" in name]


def test_a_resumed_learner_goes_on_with_its_members(workshop):
    straight, early = (workshop.learner(pessimism=0.3) for _ in range(2))
    for learner in (straight, early):
        learner.update(workshop.batch(learner, seed=0))
    late = workshop.learner(pessimism=0.3, seed=5, learner_seed=5)
    late.load_state_dict(early.state_dict())
    for learner in (straight, late):
        learner.update(workshop.batch(learner, seed=1))
    one, two = straight.state_dict(), late.state_dict()
    assert any(name.startswith("pessimism/optimiser/rms/") for name in one)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
