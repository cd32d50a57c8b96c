"""What is computed for stored steps is what the agent's own ticks find, one after the other."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from robot_episodes import recorded

from robot_wm.dreamer.kind import DREAMER
from robot_wm.learning.agent import initial_state
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.runtime.transform import CommandMap, ObservationTransform
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training.stored_again import recompute


@pytest.fixture(scope="module")
def learner(tiny_dreamer):
    with make_env("cartpole_balance") as env:
        spec = agent_spec(env)
    torch.manual_seed(5)
    made = DREAMER.make_learner(DREAMER.make_agent(tiny_dreamer, spec), tiny_dreamer, torch.device("cpu"), 0)
    with torch.no_grad():  # weights that matter: the last layers begin small
        for parameter in made.agent.parameters():
            parameter.add_(
                0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    return made, spec


def by_ticks(agent, spec, episode):
    """What the agent keeps beside each step, from greedy ticks that are told the recorded actions."""
    transform, map_ = ObservationTransform(spec, batch=1), CommandMap(spec.action)
    state, found = initial_state(agent.state, 1, "cpu"), []
    noise = {entry.name: torch.zeros((1, *entry.shape[1:])) for entry in agent.noise}
    for t in range(episode.length):
        first = episode.is_first[t : t + 1]
        inputs = transform.push({name: array[t : t + 1] for name, array in episode.obs.items()}, first)
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in inputs.items()}
        with torch.inference_mode():
            out = agent.tick(tensors, torch.from_numpy(first.astype(np.float32)), state, noise)
        action = np.empty((1, spec.action_dim), np.float32)
        map_.policy_into(episode.action[t : t + 1], action)
        state = out.state | {"action": torch.from_numpy(action)}
        found.append({name: value.numpy()[0] for name, value in out.stored.items()})
    return {name: np.stack([step[name] for step in found]) for name in found[0]}


def cut(episode, at):
    """The episode as two pieces."""
    parts = []
    for k, part in enumerate((slice(0, at), slice(at, None))):
        source = episode.source.model_copy(update={"first_step": at * k, "goes_on": k == 0})
        columns = {n: a[part] for n, a in vars(episode).items() if n not in ("obs", "source")}
        parts.append(replace(episode, obs={n: a[part] for n, a in episode.obs.items()}, source=source, **columns))
    return parts


@pytest.mark.parametrize("lengths", [[30], [9, 2, 40, 17, 8, 25]], ids=["one episode", "more than a batch"])
def test_it_is_what_ticks_find(learner, lengths):
    learner, spec = learner
    sampler = SequenceSampler(spec, capacity_steps=400, length=8, stored=learner.agent.stored)
    episodes = [recorded(spec, length, seed) for seed, length in enumerate(lengths)]
    for number, episode in enumerate(episodes):
        for k, piece in enumerate(cut(episode, 5) if episode.length == 25 else [episode]):
            sampler.add_episode(piece, fresh=False)
            sampler.places.add(f"{number:062x}{k:02x}", stream=0, steps=piece.length)
    assert not sampler.rings.rows["deter"].any()
    recompute(learner, sampler, sampler.places.placed(), batch_size=4)
    begin = 0
    for episode in episodes:
        wanted = by_ticks(learner.agent, spec, episode)
        held = slice(begin, begin + episode.length)
        np.testing.assert_allclose(sampler.rings.rows["deter"][held], wanted["deter"], atol=1e-3)  # float16
        np.testing.assert_array_equal(sampler.rings.rows["stoch"][held], wanted["stoch"])
        begin += episode.length
    assert not sampler.rings.rows["deter"][begin:].any(), "it wrote where no step is"


def test_a_piece_goes_on_from_what_is_stored_at_the_one_before_it(learner):
    learner, spec = learner
    sampler = SequenceSampler(spec, capacity_steps=400, length=8, stored=learner.agent.stored)
    episode = recorded(spec, 40, 3)
    for name, piece in zip("ab", cut(episode, 19), strict=True):
        sampler.add_episode(piece, fresh=False)
        sampler.places.add(name * 64, stream=0, steps=piece.length)
        recompute(learner, sampler, sampler.places.among({name * 64}), batch_size=4)
    wanted = by_ticks(learner.agent, spec, episode)
    np.testing.assert_allclose(sampler.rings.rows["deter"][:40], wanted["deter"], atol=1e-3)


def test_where_the_first_steps_are_overwritten_it_begins_with_what_is_left(learner):
    learner, spec = learner
    sampler = SequenceSampler(spec, capacity_steps=20, length=8, stored=learner.agent.stored)
    for name, length in (("a", 18), ("b", 12)):
        sampler.add_episode(recorded(spec, length, length), fresh=False)
        sampler.places.add(name * 64, stream=0, steps=length)
    recompute(learner, sampler, sampler.places.placed(), batch_size=4)
    rings = sampler.rings
    left = 30 - rings.size  # oldest position
    deter = rings.rows["deter"][rings.slots(0, np.arange(left, 30))]
    assert not deter[0].any()
    assert deter[1:].any(axis=1).all()
    wanted = by_ticks(learner.agent, spec, recorded(spec, 12, 12))
    np.testing.assert_allclose(deter[-12:], wanted["deter"], atol=1e-3)
