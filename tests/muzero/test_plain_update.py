"""The update against one that is written window by window; and faults, each of which that comparison must see."""

from __future__ import annotations

import importlib
import inspect
import types

import pytest
import torch
from plain_unroll import plain_update

from robot_wm.muzero import learner as learner_module

FLAGS = {"first": 0.2, "last": 0.12, "terminal": 0.12, "unknown": 0.15}


def compare(learner, batch):
    """One update of the learner, all of which must be as in the plain one."""
    noise = learner.draw_noise(batch)
    expected = plain_update(learner, batch, noise)
    taken = []
    step = learner.optimiser.step
    learner.optimiser.step = lambda gradients: (taken.extend(g.clone() for g in gradients), step(gradients))
    slow = torch.cat([p.flatten() for p in learner.agent.target.parameters()])
    result = learner.update(batch, noise)
    for name, value in expected.losses.items():
        torch.testing.assert_close(result.metrics[f"loss/{name}"], value, rtol=2e-4, atol=2e-5, msg=name)
    named = list(learner._flat.trained.named)
    assert set(named) == set(expected.gradients)
    for name, gradient in zip(named, taken, strict=True):
        torch.testing.assert_close(gradient, expected.gradients[name], rtol=2e-3, atol=2e-5, msg=name)
    torch.testing.assert_close(result.priority, torch.tensor(expected.priority), rtol=2e-4, atol=2e-5)
    assert result.write_back.keys() == expected.write_back.keys()
    for name, value in expected.write_back.items():
        torch.testing.assert_close(result.write_back[name].float(), value, rtol=2e-3, atol=2e-3, msg=name)
    model, target = (
        torch.cat([p.detach().flatten() for p in networks.parameters()])
        for networks in (learner.agent.model, learner.agent.target)
    )
    torch.testing.assert_close(target, slow + learner.config.target_rate * (model - slow))


def several(workshop, kind):
    for seed, discrete in enumerate((False, True, False)):
        learner = workshop.awake(
            discrete=discrete, action=3 if discrete else 2, kind=kind, seed=seed, reanalyse=0.5, target_rate=0.25,
            learning_rate=0.01,
        )  # fmt: skip
        compare(learner, workshop.batch(learner, size=6, seed=seed, **(FLAGS if seed else {})))


@pytest.mark.parametrize("reanalyse", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("flags", [{}, FLAGS], ids=["one episode", "many"])
def test_an_update_is_what_its_definition_says(workshop, discrete, flags, reanalyse):
    learner = workshop.awake(discrete=discrete, action=3, reanalyse=reanalyse, learning_rate=0.01)
    for seed in range(2):
        compare(learner, workshop.batch(learner, size=6, seed=seed, **flags))


@pytest.mark.parametrize("settings", [{"unroll": 1, "td_steps": 1}, {"unroll": 2, "td_steps": 4}, {"td_steps": 1}])
def test_other_unrolls_and_bootstraps(workshop, settings):
    learner = workshop.awake(**settings)
    compare(learner, workshop.batch(learner, size=6, **FLAGS))


@pytest.mark.parametrize("action", [1, 2])
@pytest.mark.parametrize("target", ["auto", "weights", "best"])
def test_what_a_policy_learns_of_a_search(workshop, action, target):
    learner = workshop.awake(action=action, policy_target=target, learning_rate=0.01)
    compare(learner, workshop.batch(learner, size=6, **FLAGS))


STEP = "        self.optimiser.step(self.ranks.mean(gradients)())\n"
AVERAGE = "        self._flat.average_slow(self.config.target_rate)\n"
# Module, what is right in it, and what is not.
FAULTS = {
    "actions one step late": (
        "learner",
        "batch.action[:, 1 : self._positions]",
        "batch.action[:, 2 : self._positions + 1]",
    ),
    "actions one step early": (
        "learner",
        "batch.action[:, 1 : self._positions]",
        "batch.action[:, : self._positions - 1]",
    ),
    "root at the context step": ("learner", "{name: value[:, 1] for", "{name: value[:, 0] for"),
    "targets of the context step": (
        "learner",
        "trained = self.config, slice(1, None)",
        "trained = self.config, slice(0, -1)",
    ),
    "searches of the step before": (
        "learner",
        "value[:, 1 : 1 + self._positions] for",
        "value[:, : self._positions] for",
    ),
    "other steps searched again": (
        "learner",
        "latent[-count:, : self._positions]",
        "latent[:count, : self._positions]",
    ),
    "bootstrap of the online network": (
        "learner",
        "agent.target.value(latent)",
        "agent.model.value(latent)",
    ),
    "latents of the online network": (
        "learner",
        "agent.target.representation(obs)",
        "agent.model.representation(obs)",
    ),
    "latents of the step before": ("learner", "value[:, 1:].flatten(0, 1)", "value[:, :-1].flatten(0, 1)"),
    "search by the online network": ("reanalyse", "latent_model(target=True)", "latent_model(target=False)"),
    "consistency with the step before": (
        "learner",
        "rows[:, 2 : 1 + self._positions].flatten",
        "rows[:, 1 : self._positions].flatten",
    ),
    "consistency from its own gradient": ("learner", "    @torch.no_grad()\n    def _goals", "    def _goals"),
    "ages turned round": ("learner", '["age"] >= config', '["age"] < config'),
    "fresh searches not put in": ("learner", "return renewed(stored, again), again", "return stored, again"),
    "old searches written back": ("learner", "again), again.to_stored()", "again), stored.to_stored()"),
    "priority of another step": ("learner", "error[:, 0])", "error[:, 1])"),
    "priority of what is not told": ("learner", ".abs() * goals.value.mask", ".abs()"),
    "target network left alone": ("learner", "        self._flat.average_slow(self.config.target_rate)\n", ""),
    "target network averaged before the step": (
        "learner",
        STEP + AVERAGE,
        AVERAGE + STEP,
    ),
    "importance forgotten": ("losses", " * weight).mean()", ").mean()"),
    "latent's gradient whole": ("losses", "scaled_gradient(latents[-1], agent.config.latent_gradient)", "latents[-1]"),
    "latent's gradient scaled at the heads": (
        "losses",
        "value=agent.model.value_logits(stacked)",
        "value=agent.model.value_logits(scaled_gradient(stacked, 0.5))",
    ),
    "latent's gradient stopped": (
        "losses",
        "scaled_gradient(latents[-1], agent.config.latent_gradient)",
        "latents[-1].detach()",
    ),
    "a mean of actions of several numbers": (
        "losses",
        'searched if target == "weights" else searched.best()',
        "searched",
    ),
    "one of several discrete actions": ("losses", "agent.discrete or agent.action_dim == 1", "agent.action_dim == 1"),
    "no 1/K": ("losses", "term[:, -steps:].mean(1)", "term[:, -steps:].sum(1)"),
    "the root's loss averaged in": (
        "losses",
        "return after + term[:, 0] if term.shape[1] > steps else after",
        "return term.mean(1)",
    ),
    "reward not masked": ("losses", "reward.target) * reward.mask", "reward.target)"),
    "value not masked": ("losses", "goals.value.target) * goals.value.mask", "goals.value.target)"),
    "policy not masked": ("losses", "goals.searched)) * goals.chosen", "goals.searched))"),
    "entropy not masked": ("losses", "policy.entropy() * goals.chosen", "policy.entropy()"),
    "continue not masked": ("losses", " * cont.mask", ""),
    "consistency not masked": ("losses", "distance * goals.seen", "distance"),
    "consistency turned round": ("losses", "distance = -F", "distance = F"),
    "entropy turned round": ("losses", '"entropy": -model', '"entropy": model'),
    "no discount": ("targets", "earned + discount * ", "earned + "),
    "discounted reward": (
        "targets",
        "earned + discount * _shifted_earlier(value)",
        "discount * (earned + _shifted_earlier(value))",
    ),
    "reward of the step itself": ("targets", "earned = _shifted_earlier(reward)", "earned = reward"),
    "one reward too few": ("targets", "in range(steps)", "in range(steps - 1)"),
    "terminal states bootstrapped": ("targets", "start = torch.where(worthless, 0.0, bootstrap)", "start = bootstrap"),
    "unknown rewards summed": ("targets", "way.goes_on & _shifted_earlier(known)", "way.goes_on"),
    "rewards of the next episode summed": (
        "targets",
        "inside & _shifted_earlier(uncut) & ~is_last & ~is_terminal",
        "inside & _shifted_earlier(torch.ones_like(uncut))",
    ),
    "a root that is a first step is no root": (
        "targets",
        "    crossed[:, 0] = False  # the root may be a first step itself\n",
        "",
    ),
    "nothing is absorbed": (
        "targets",
        "absorbed = _shifted_later(terminal).cumsum(1) > 0",
        "absorbed = torch.zeros_like(terminal)",
    ),
    "absorbed rewards not 0": (
        "targets",
        "target = torch.where(absorbed, 0.0, reward[:, 1 : unroll + 1])",
        "target = reward[:, 1 : unroll + 1]",
    ),
    "unknown rewards learned": ("targets", "(inside & known[:, 1 : unroll + 1])", "inside"),
    "a terminal state goes on": ("targets", "over = (way.terminal | way.absorbed)", "over = way.absorbed"),
    "choices in terminal states": (
        "targets",
        "(was_searched & (way.inside & ~way.terminal)[",
        "(was_searched & way.inside[",
    ),
    "search values where nobody searched": (
        "targets",
        "stale[:, None] & was_searched & open_state",
        "stale[:, None] & open_state",
    ),
    "search values of terminal states": (
        "targets",
        "open_state = (way.inside & ~way.terminal)",
        "open_state = way.inside",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(workshop, monkeypatch, fault):
    where, right, wrong = FAULTS[fault]
    faulty = planted(f"robot_wm.muzero.{where}", right, wrong)
    kind = learner_module.MuZeroLearner
    if where == "learner":
        kind = faulty.MuZeroLearner
    elif where == "targets":
        monkeypatch.setattr(learner_module, "targets", faulty)
    else:
        for name, value in vars(faulty).items():
            if inspect.isfunction(value) and value.__module__ == faulty.__name__ and hasattr(learner_module, name):
                monkeypatch.setattr(learner_module, name, value)
    with pytest.raises(AssertionError):
        several(workshop, kind)


def planted(name: str, right: str, wrong: str) -> types.ModuleType:
    """A second copy of the module, with the fault."""
    module = importlib.import_module(name)
    source = inspect.getsource(module)
    assert source.count(right) == 1, f"{right!r} is {source.count(right)} times in {name}"
    faulty = types.ModuleType(f"faulty_{name.rpartition('.')[2]}")
    faulty.__dict__["__file__"] = module.__file__
    exec(compile(source.replace(right, wrong), f"{name} with a fault", "exec"), vars(faulty))
    return faulty


def test_without_a_fault_the_comparison_holds(workshop):
    several(workshop, learner_module.MuZeroLearner)
