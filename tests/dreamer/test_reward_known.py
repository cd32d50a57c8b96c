"""Rewards that nobody told: what the learner makes of a batch in which some, all or none are known."""

import dataclasses

import pytest
import torch

from robot_wm.dreamer.pictures import prediction_figure
from robot_wm.dreamer.world_model import world_model_loss
from robot_wm.raster import raster
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, ObservationField


def some_known(workshop, learner, *, share=0.5):
    batch = workshop.batch(learner, first=0.1)
    known = torch.rand(batch.reward.shape, generator=torch.Generator().manual_seed(2)) < share
    return dataclasses.replace(batch, reward_known=known)


def weights_after(workshop, change):
    learner = workshop.awake(learning_rate=1e-2)
    for _ in range(3):
        learner.update(change(some_known(workshop, learner)))
    return torch.cat([parameter.detach().flatten() for parameter in learner.agent.parameters()])


def test_what_stands_for_an_unknown_reward_changes_nothing_and_a_known_one_does(workshop):
    def other(known):
        def change(batch):
            altered = batch.reward_known == known
            return dataclasses.replace(batch, reward=torch.where(altered, 7.0, batch.reward))

        return change

    as_it_is = weights_after(workshop, lambda batch: batch)
    assert torch.equal(weights_after(workshop, other(known=False)), as_it_is)
    assert not torch.equal(weights_after(workshop, other(known=True)), as_it_is)


@torch.no_grad()
def test_a_known_reward_weighs_as_much_as_where_all_are_known(workshop):
    learner = workshop.awake()
    batch = some_known(workshop, learner)
    noise = learner.draw_noise(batch).posterior

    def loss(known):
        return world_model_loss(learner.agent, dataclasses.replace(batch, reward_known=known), noise).losses["reward"]

    whole, nothing = loss(torch.ones_like(batch.reward_known)), loss(torch.zeros_like(batch.reward_known))
    assert nothing == 0
    torch.testing.assert_close(loss(batch.reward_known) + loss(~batch.reward_known), whole)


def test_the_logged_loss_is_that_of_the_known_rewards(workshop):
    learner = workshop.awake()
    batch = some_known(workshop, learner)
    noise = learner.draw_noise(batch)
    loss = world_model_loss(learner.agent, batch, noise.posterior).losses["reward"].item()
    told = learner.update(batch, noise).metrics["loss/reward"].item()
    assert told == pytest.approx(loss / batch.reward_known[:, 1:].float().mean().item())


def test_without_a_known_reward_everything_else_is_learnt(workshop):
    learner = workshop.awake()
    batch = dataclasses.replace(some_known(workshop, learner), reward=torch.zeros(3, 7))
    batch = dataclasses.replace(batch, reward_known=torch.zeros_like(batch.is_first))
    before = {name: p.detach().clone() for name, p in learner.agent.named_parameters()}
    metrics = learner.update(batch).metrics
    assert metrics["loss/reward"] == 0
    assert all(value.isfinite().all() for value in metrics.values())
    after = dict(learner.agent.named_parameters())
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in still if not name.startswith("slow_critic")} == {
        name for name in before if name.startswith("reward.")
    }


def test_a_picture_leaves_out_what_nobody_told(workshop):
    learner = workshop.awake()
    batch = some_known(workshop, learner)
    shown = learner.open_loop(batch, context=2)
    known = batch.reward_known[:, 1:]
    assert torch.equal(shown.actual_reward.isnan(), ~known)
    assert torch.equal(shown.actual_reward[known], batch.reward[:, 1:][known])
    assert shown.predicted_reward.isfinite().all()
    spec = AgentSpec(
        task="toy",
        robot="toy",
        control_rate_hz=10,
        physics_rate_hz=10,
        observations=tuple(
            ObservationField(name=name, shape=(width,), unit="1") for name, width in (("joints", 5), ("goal", 2))
        ),
        action=ActionSpec(mode="effort", joints=("a", "b"), unit="N"),
        firmware=FirmwareProfile(name="toy"),
    )
    assert raster(prediction_figure(shown, spec)).std() > 10
