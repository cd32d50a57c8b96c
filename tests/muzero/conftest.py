"""Small MuZero agents whose heads say something, and what their ticks take."""

import pytest
import torch
from windows import Workshop

from robot_wm.learning.agent import initial_state
from robot_wm.muzero.agent import MuZeroAgent
from robot_wm.muzero.config import MuZeroConfig
from robot_wm.spec import InputShape

TINY = {
    "size": "nano",
    "latent": 16,
    "simplex": 4,
    "units": 8,
    "depth": 2,
    "bins": 31,
    "projection_units": 12,
    "projection": 6,
}
INPUTS = {
    "joints": InputShape(shape=(5,), dtype="float32"),
    "goal": InputShape(shape=(2,), dtype="float32"),
    "camera": InputShape(shape=(48, 64, 3), dtype="uint8"),
}


class Studio:
    """Makes agents and inputs that fit together; two of one seed are equal."""

    def agent(self, *, obs="proprio", discrete=False, action=3, seed=0, **settings):
        """A new agent: its reward and value are exactly 0."""
        names = {"proprio": ("joints", "goal"), "image": ("camera",), "both": tuple(INPUTS)}[obs]
        config = MuZeroConfig(**{**TINY, **settings})
        generator = torch.Generator().manual_seed(seed)
        return MuZeroAgent(config, {name: INPUTS[name] for name in names}, action, discrete, generator=generator)

    def awake(self, **settings):
        """An agent whose heads have weights, so that whatever reaches them shows."""
        agent = self.agent(**settings)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for networks in (agent.model, agent.target):
                for head in (networks.dynamics.reward, networks.critic):
                    head.out.weight.normal_(0, 0.3, generator=generator)
                networks.actor.out.weight.mul_(50)
        return agent

    def obs(self, agent, rows=4, seed=0):
        """[N, *input shape] by name."""
        g = torch.Generator().manual_seed(seed)
        vectors = {name: torch.randn(rows, width, generator=g) for name, width in agent.inputs.vectors.items()}
        return vectors | {
            name: torch.randint(0, 256, (rows, *shape), generator=g, dtype=torch.uint8)
            for name, shape in agent.inputs.images.items()
        }

    def tick(self, agent, rows=4, seed=0):
        """What a tick is given some steps into an episode: observations, is_first, state and noise (zeros)."""
        g = torch.Generator().manual_seed(seed)
        state = initial_state(agent.state, rows, "cpu")
        state["latent"] = torch.rand(state["latent"].shape, generator=g)
        state["action"] = torch.rand(state["action"].shape, generator=g) * 2 - 1
        noise = {entry.name: torch.zeros(rows, *entry.shape[1:]) for entry in agent.noise}
        return self.obs(agent, rows, seed), torch.zeros(rows), state, noise


@pytest.fixture
def studio():
    return Studio()


@pytest.fixture(scope="session")
def workshop():
    return Workshop()
