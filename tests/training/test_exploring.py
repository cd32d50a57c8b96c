"""Who acts when: in training an agent may think longer than its tick does, and keeps what it finds."""

import numpy as np
import pytest
import torch

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.learning.agent import Agent, Tick, initial_state
from robot_wm.replay.stored import Stored
from robot_wm.runtime.graph_tensors import NoiseTensor, StateTensor, TensorSpec
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training.actor import Actor

ENVS = 3
FIRST = np.ones(ENVS, np.bool_)
TICKED, SEARCHED = 0.25, 0.5  # the actions of the two


class Thinker(Agent):
    """Ticks to one action and searches to another, plus what its noise adds."""

    kind = "thinker"

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.state = (StateTensor(name="action", input="state/action", output="action", shape=(1, 1), shown=True),)
        self.noise = (NoiseTensor(name="noise/action", shape=(1, 1), distribution="normal"),)
        self.outputs = tuple(TensorSpec(name=name, shape=(1,)) for name in ("action", "value", "surprise"))
        self.draws, self.surprise_unit = (), None
        self.stored = (Stored(name="found", shape=(), dtype="float32", use="every"),)
        self.given: list[dict[str, torch.Tensor]] = []

    @property
    def explore_noise(self):
        return (
            NoiseTensor(name="noise/tree", shape=(1, 5, 2), distribution="gumbel"),
            NoiseTensor(name="noise/proposed", shape=(1, 4), distribution="normal"),
        )

    def _tick(self, action, noise, found):
        self.given.append(noise)
        action, zero = torch.full((ENVS, 1), action), torch.zeros(ENVS)
        return Tick(
            {"action": action, "value": zero, "surprise": zero},
            {"action": action},
            {"found": torch.full((ENVS,), found)},
        )

    def tick(self, obs, is_first, state, noise):
        return self._tick(TICKED, noise, 0.0)

    def explore(self, obs, is_first, state, noise):
        return self._tick(SEARCHED, noise, 1.0)

    def acting(self):
        yield self.weight


@pytest.fixture(scope="module")
def spec():
    env = make_env("cartpole_balance")
    yield agent_spec(env)
    env.close()


def act(agent, spec, *, random=False, **options):
    obs = {field.name: np.zeros((ENVS, *field.shape), field.dtype) for field in spec.observations}
    actor = Actor(agent, spec, envs=ENVS, seed=1, **options)
    return actor, actor.act(obs, FIRST, random=random)


def test_in_training_it_explores_with_the_noise_that_exploring_asks_for(spec):
    agent = Thinker()
    actor, acted = act(agent, spec)
    assert (actor._state["action"] == SEARCHED).all()
    assert (acted.stored["found"] == 1).all()
    (noise,) = agent.given
    assert {name: value.shape for name, value in noise.items()} == {
        "noise/tree": (ENVS, 5, 2),
        "noise/proposed": (ENVS, 4),
    }
    assert noise["noise/tree"].std() > 0.5


def test_greedy_play_ticks_unless_the_agent_wants_to_search_then_too(spec):
    agent = Thinker()
    actor, acted = act(agent, spec, greedy=True)
    assert (actor._state["action"] == TICKED).all()
    assert not acted.stored["found"].any()
    agent.eval_search = True
    actor, acted = act(agent, spec, greedy=True)
    assert (actor._state["action"] == SEARCHED).all()
    assert not agent.given[-1]["noise/tree"].any()
    assert agent.given[-1]["noise/proposed"].std() > 0.3  # or a search would compare one action with itself


def test_nothing_is_thought_of_a_random_action(spec):
    agent = Thinker()
    actor, acted = act(agent, spec, random=True)
    assert not acted.stored["found"].any()
    assert not torch.isin(actor._state["action"], torch.tensor([TICKED, SEARCHED])).any()


def test_the_noise_of_exploring_goes_on_from_its_state(spec):
    agent = Thinker()
    one, _ = act(agent, spec)
    other = Actor(agent, spec, envs=ENVS, seed=77)
    other.set_rng_state(one.rng_state())
    ahead, same = (actor._noise(agent.explore_noise)["noise/tree"] for actor in (one, other))
    assert torch.equal(ahead, same)


def test_an_agent_that_says_nothing_explores_as_it_ticks(tiny, spec):
    agent = DreamerAgent(tiny().settings, spec.model_inputs(), spec.action_dim, spec.action.is_discrete)
    assert agent.explore_noise == agent.noise
    assert not agent.eval_search
    obs = {name: torch.zeros(1, *entry.shape) for name, entry in spec.model_inputs().items()}
    given = (obs, torch.ones(1), initial_state(agent.state, 1, "cpu"))
    noise = {entry.name: torch.ones(entry.shape) for entry in agent.noise}
    ticked, explored = agent.tick(*given, noise), agent.explore(*given, noise)
    assert all(torch.equal(ticked.outputs[name], explored.outputs[name]) for name in ticked.outputs)
