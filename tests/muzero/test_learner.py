"""The update as a whole: determinism, resuming, which loss reaches what, and what it says when numbers break."""

import dataclasses

import numpy as np
import pytest
import torch

from robot_wm.errors import UserError
from robot_wm.learning.agent import initial_state
from robot_wm.muzero.learner import MuZeroLearner
from robot_wm.muzero.losses import LOSSES, losses


def parameters(learner):
    return torch.cat([p.detach().flatten() for p in learner.agent.parameters()])


@pytest.mark.parametrize("discrete", [False, True])
def test_updates_are_a_function_of_seed_and_batch(workshop, discrete):
    def run(learner_seed):
        learner = workshop.awake(discrete=discrete, learner_seed=learner_seed)
        for seed in range(3):
            torch.rand(7)  # torch's own generator must not matter
            result = learner.update(workshop.batch(learner, seed=seed, last=0.1))
        return parameters(learner), result

    (one, a), (two, b), (three, _) = run(0), run(0), run(1)
    assert torch.equal(one, two)
    assert (
        torch.equal(one, three) == discrete
    )  # sampled candidates hang on the noise, those of a discrete search do not
    assert all(torch.equal(a.metrics[name], b.metrics[name]) for name in a.metrics)
    assert all(torch.equal(a.write_back[name], b.write_back[name]) for name in a.write_back)
    assert torch.equal(a.priority, b.priority)


def test_resumed_learner_continues_bit_for_bit(workshop):
    straight, early = workshop.learner(warmup=5), workshop.learner(warmup=5)
    for seed in range(2):
        for learner in (straight, early):
            learner.update(workshop.batch(learner, seed=seed))
    state = early.state_dict()
    early.update(workshop.batch(early, seed=9))  # must not reach into the state already taken
    late = workshop.learner(warmup=5, seed=5, learner_seed=5)
    late.load_state_dict(state)
    for seed in range(2, 4):
        for learner in (straight, late):
            learner.update(workshop.batch(learner, seed=seed))
    one, two = straight.state_dict(), late.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert {name.split(".")[0] for name in one if name.startswith("agent/")} == {
        "agent/model",
        "agent/consistency",
        "agent/target",
    }


def test_a_state_of_another_agent_is_refused_by_the_tensors_name(workshop):
    learner = workshop.learner()
    state = learner.state_dict()
    with pytest.raises(UserError, match=r"agent/target.*is missing"):
        learner.load_state_dict({k: v for k, v in state.items() if "target.critic.out.bias" not in k})
    with pytest.raises(UserError, match=r"tensor \S+ has shape"):
        workshop.learner(units=16).load_state_dict(state)


def test_a_learner_wants_its_agents_config(workshop):
    learner = workshop.learner()
    with pytest.raises(ValueError, match="config differs"):
        MuZeroLearner(learner.agent, learner.config.model_copy(update={"discount": 0.5}), "cpu")


def part(name):
    pieces = name.removeprefix("model.").split(".")
    return ".".join(pieces[:2]) if pieces[:2] in (["dynamics", "reward"], ["dynamics", "cont"]) else pieces[0]


@pytest.mark.parametrize(
    ("loss", "reached"),
    [
        ("reward", {"representation", "dynamics", "dynamics.reward"}),
        ("value", {"representation", "dynamics", "critic"}),
        ("policy", {"representation", "dynamics", "actor"}),
        ("entropy", {"representation", "dynamics", "actor"}),
        ("continue", {"representation", "dynamics", "dynamics.cont"}),
        ("consistency", {"representation", "dynamics", "consistency"}),
    ],
)
@pytest.mark.parametrize("discrete", [False, True])
def test_a_loss_reaches_the_networks_that_made_its_prediction(workshop, loss, reached, discrete):
    learner = workshop.awake(discrete=discrete)
    batch = workshop.batch(learner)
    goals, _ = learner._goals(
        learner.agent, batch, learner._seen_by_target(learner.agent, batch), learner._stored(batch)
    )
    found = losses(learner.agent, learner._unroll(learner.agent, batch), goals, batch.window["weight"])
    assert tuple(found) == LOSSES
    named = {n: p for n, p in learner.agent.named_parameters() if p.requires_grad}
    grads = torch.autograd.grad(found[loss], list(named.values()), allow_unused=True)
    moved = {part(n) for n, g in zip(named, grads, strict=True) if g is not None and g.abs().max() > 0}
    assert moved == reached


def test_nothing_is_told_of_a_batch_without_a_single_known_thing(workshop):
    learner = workshop.awake(reanalyse=0.0)
    batch = workshop.batch(learner, unknown=1.0)
    stored = {name: torch.zeros_like(value) for name, value in batch.stored.items()}
    alone = torch.ones_like(batch.is_first)  # each step an episode of its own
    batch = dataclasses.replace(batch, stored=stored, is_first=alone, is_last=alone)
    result = learner.update(batch)
    assert all(result.metrics[f"loss/{name}"] == 0 for name in LOSSES)
    assert learner.first_nonfinite() is None
    assert result.write_back == {}
    assert not result.priority.any()


@pytest.mark.parametrize("td_steps", [1, 2])
def test_every_position_of_a_window_has_its_whole_return(workshop, td_steps):
    learner = workshop.awake(unroll=2, td_steps=td_steps, discount=0.5)
    batch = workshop.batch(learner, size=1)
    reward = torch.tensor([[100.0, 100.0, 1.0, 2.0, 4.0, 8.0]])[:, : batch.reward.shape[1]]  # of steps 0, 1, 2, ...
    batch = dataclasses.replace(batch, reward=reward)
    latent = learner._seen_by_target(learner.agent, batch)
    v = [None, *learner.agent.target.value(latent)[0].tolist()]  # of steps 1, 2, ...
    goals, _ = learner._goals(learner.agent, batch, latent, learner._stored(batch))
    expected = {
        1: [1 + v[2] / 2, 2 + v[3] / 2, 4 + v[4] / 2],
        2: [1 + 2 / 2 + v[3] / 4, 2 + 4 / 2 + v[4] / 4, 4 + 8 / 2 + v[-1] / 4],
    }[td_steps]
    assert goals.value.mask.tolist() == [[1, 1, 1]]
    assert goals.value.target[0].tolist() == pytest.approx(expected, rel=1e-5)


def test_the_last_windows_are_searched_again_and_a_step_learns_what_was_found(workshop):
    learner = workshop.awake(reanalyse=0.5)
    batch = workshop.batch(learner, size=6)
    result = learner.update(batch)
    config = learner.config
    assert {name: value.shape for name, value in result.write_back.items()} == {
        "search_actions": (3, config.unroll + 1, 4, 2),
        "search_weights": (3, config.unroll + 1, 4),
        "search_value": (3, config.unroll + 1),
    }
    declared = {entry.name: entry.dtype for entry in learner.agent.stored}
    assert {name: str(value.dtype) for name, value in result.write_back.items()} == {
        name: f"torch.{dtype}" for name, dtype in declared.items()
    }
    torch.testing.assert_close(result.write_back["search_weights"].float().sum(-1), torch.ones(3, 4), atol=2e-3, rtol=0)


def test_what_is_recomputed_is_always_the_same_and_changes_nothing(workshop):
    learner = workshop.awake()
    batch = workshop.batch(learner)
    before = learner.state_dict()
    one, two = learner.recompute_stored(batch), learner.recompute_stored(batch)
    after = learner.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert one.keys() == {entry.name for entry in learner.agent.stored}
    for entry in learner.agent.stored:
        assert torch.equal(one[entry.name], two[entry.name])
        assert one[entry.name].shape == (4, learner.config.batch_length, *entry.shape)
    # Candidates differ: a policy that is told its own mode alone would become ever narrower.
    assert one["search_actions"].float().std(2).amax(-1).min() > 0.01


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda batch: batch.reward.fill_(float("nan")), "batch reward at update 1"),
        (lambda batch: batch.obs["goal"].fill_(float("inf")), "batch obs/goal at update 1"),
    ],
)
def test_the_first_number_that_is_none_is_named(workshop, spoil, named):
    learner = workshop.awake()
    learner.update(workshop.batch(learner))
    assert learner.first_nonfinite() is None
    batch = workshop.batch(learner)
    spoil(batch)
    learner.update(batch)
    learner.update(batch)
    assert learner.first_nonfinite().startswith(named.replace("update 1", "update 2"))


def test_what_exploring_keeps_is_what_an_update_takes(workshop):
    learner = workshop.awake()
    agent = learner.agent
    g = torch.Generator().manual_seed(0)
    obs = {name: torch.randn(5, width, generator=g) for name, width in agent.inputs.vectors.items()}
    noise = {entry.name: torch.randn(5, *entry.shape[1:], generator=g) for entry in agent.explore_noise}
    with torch.no_grad():
        tick = agent.explore(obs, torch.ones(5), initial_state(agent.state, 5, "cpu"), noise)
        silent = agent.tick(
            obs, torch.ones(5), initial_state(agent.state, 5, "cpu"), {"noise/action": torch.zeros(5, 2)}
        )
    for entry in agent.stored:
        for made in (tick, silent):
            assert made.stored[entry.name].shape == (5, *entry.shape)
            assert str(made.stored[entry.name].dtype) == f"torch.{entry.dtype}"
    assert not silent.stored["search_weights"].any()  # nobody searched
    candidates = tick.stored["search_actions"].float()  # [5, R, A]
    nearest = (candidates - tick.outputs["action"][:, None]).abs().amax(-1).amin(-1)
    assert nearest.max() < 1e-3
    torch.testing.assert_close(tick.outputs["value"], tick.stored["search_value"])
    torch.testing.assert_close(tick.state["latent"], silent.state["latent"])


def test_the_unroll_is_drawn(workshop):
    learner = workshop.awake()
    before = learner.generator.get_state()
    pictures = learner.report(workshop.batch(learner, last=0.1, terminal=0.1), None)
    (still,) = pictures.stills.values()
    assert still.dtype == np.uint8
    assert still.ndim == 3
    assert still.std() > 5  # something is on it
    assert torch.equal(learner.generator.get_state(), before)
