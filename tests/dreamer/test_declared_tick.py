"""What the agent declares of its tick is what its tick takes, gives and keeps."""

import pytest
import torch

from robot_wm.dreamer.agent import TickState
from robot_wm.learning.agent import initial_state

ROWS = 4


def given(agent, seed=0):
    """Observations, and everything that is declared, [N, *shape] each."""
    g = torch.Generator().manual_seed(seed)
    obs = {name: torch.randn(ROWS, width, generator=g) for name, width in agent.inputs.vectors.items()}
    for name, shape in agent.inputs.images.items():
        obs[name] = torch.randint(0, 256, (ROWS, *shape), generator=g, dtype=torch.uint8)
    state = {entry.name: torch.rand(ROWS, *entry.shape[1:], generator=g) for entry in agent.state}
    noise = {entry.name: torch.randn(ROWS, *entry.shape[1:], generator=g) for entry in agent.noise}
    return obs, torch.zeros(ROWS), state, noise


@pytest.mark.parametrize("obs", ["proprio", "both"])
@pytest.mark.parametrize("discrete", [False, True])
@torch.no_grad()
def test_a_tick_keeps_to_its_declaration(workshop, obs, discrete):
    agent = workshop.awake(obs=obs, discrete=discrete, action=3).agent
    values, first, state, noise = given(agent)
    made = agent.tick(values, first, state, noise)
    assert {name: value.shape for name, value in made.outputs.items()} == {
        entry.name: (ROWS, *entry.shape[1:]) for entry in agent.outputs
    }
    assert {name: value.shape for name, value in made.state.items()} == {
        entry.name: (ROWS, *entry.shape[1:]) for entry in agent.state
    }
    assert {name: (value.shape, value.dtype) for name, value in made.stored.items()} == {
        entry.name: ((ROWS, *entry.shape), getattr(torch, entry.dtype)) for entry in agent.stored
    }
    for entry in agent.state:
        if entry.shown:
            assert made.state[entry.name] is made.outputs[entry.output]
    out = agent.step(values, first, TickState(**state), noise["noise/latent"], noise["noise/action"])
    for name, value in made.outputs.items():
        assert torch.equal(value, getattr(out, name))
    for name, value in made.state.items():
        assert torch.equal(value, getattr(out.state, name))
    [draw] = agent.draws
    drawn = (made.outputs[draw.logits] + noise[draw.noise]).argmax(-1)
    assert torch.equal(made.stored["stoch"].long(), drawn)
    assert torch.equal(made.stored["deter"], out.state.deter.half())


@torch.no_grad()
def test_an_actor_needs_what_acts_and_nothing_else(workshop):
    agent = workshop.awake(obs="both").agent
    values, first, state, noise = given(agent)
    before = agent.tick(values, first, state, noise)
    acting = {id(parameter) for parameter in agent.acting()}
    rest = [parameter for parameter in agent.parameters() if id(parameter) not in acting]
    assert len(acting) == len(list(agent.acting()))
    assert rest
    for parameter in rest:
        parameter.fill_(7.0)
    after = agent.tick(values, first, state, noise)
    for part in ("outputs", "state", "stored"):
        for name, value in getattr(before, part).items():
            assert torch.equal(value, getattr(after, part)[name]), name
    for name, parameter in agent.named_parameters():
        if id(parameter) in acting:
            kept = parameter.clone()
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
            other = agent.tick(values, first, state, noise)
            same = [torch.equal(other.outputs[key], value) for key, value in before.outputs.items()]
            assert not all(same), f"{name} moves nothing that acts"
            parameter.copy_(kept)


def test_an_episode_begins_with_the_declared_state(workshop):
    agent = workshop.learner().agent
    begun = initial_state(agent.state, 3, "cpu")
    assert {name: tuple(value.shape) for name, value in begun.items()} == {
        "deter": (3, 16),
        "stoch": (3, 4, 3),
        "action": (3, 2),
    }
    assert not any(value.any() for value in begun.values())
    counted = agent.state[0].model_copy(update={"initial": tuple(float(n) for n in range(16))})
    rows = initial_state((counted,), 2, "cpu")["deter"]
    assert torch.equal(rows, torch.arange(16.0).expand(2, 16))
    rows[0, 0] = 9.0  # every row is its own
    assert rows[1, 0] == 0.0
