"""Small learners of MuZero and random windows for them."""

import torch

from robot_wm.learning.batch import TensorBatch
from robot_wm.muzero.agent import MuZeroAgent
from robot_wm.muzero.config import MuZeroConfig
from robot_wm.muzero.learner import MuZeroLearner
from robot_wm.spec import InputShape

TINY = {
    "size": "nano", "latent": 8, "simplex": 4, "units": 8, "projection_units": 8, "projection": 4, "bins": 21,
    "reward_support": 3.0, "value_support": 30.0, "unroll": 3, "td_steps": 2, "num_simulations": 4, "root_actions": 4,
    "root_policy": 2, "max_depth": 3, "warmup": 0, "batch_size": 4, "search_value_age": 100,
}  # fmt: skip


class Workshop:
    """Makes learners and batches that fit together; two of one seed are equal."""

    def learner(self, *, discrete=False, action=2, seed=0, learner_seed=0, kind=MuZeroLearner, **settings):
        config = MuZeroConfig(**{**TINY, **settings})
        inputs = {
            "joints": InputShape(shape=(5,), dtype="float32"),
            "goal": InputShape(shape=(2,), dtype="float32"),
        }
        agent = MuZeroAgent(config, inputs, action, discrete, generator=torch.Generator().manual_seed(seed))
        return kind(agent, config, "cpu", seed=learner_seed)

    def awake(self, **settings):
        """A learner whose heads of zeros have weights, and whose target network is another than its model."""
        learner = self.learner(**settings)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for networks in (learner.agent.model, learner.agent.target):
                for head in (networks.critic, networks.dynamics.reward):
                    head.out.weight.normal_(0, 0.5, generator=generator)
                networks.actor.out.weight.mul_(30)
            for parameter in learner.agent.target.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        return learner

    def batch(self, learner, *, size=4, seed=0, first=0.0, last=0.0, terminal=0.0, unknown=0.0):
        """Steps with these shares of flags; every first window is fresh and every second one stale."""
        g = torch.Generator().manual_seed(seed)
        agent, config = learner.agent, learner.config
        steps = (size, config.batch_length + 1)

        def drawn(share):
            return torch.rand(steps, generator=g) < share

        action = torch.rand((*steps, agent.action_dim), generator=g) * 2 - 1
        if agent.discrete:
            action = torch.nn.functional.one_hot(action.argmax(-1), agent.action_dim).float()
        ended = drawn(terminal)
        last_ones = drawn(last) | ended
        firsts = torch.cat([drawn(first)[:, :1], last_ones[:, :-1]], 1)
        stored = {}
        for entry in agent.stored:
            stored[entry.name] = torch.randn((*steps, *entry.shape), generator=g).half().float()
        stored["search_weights"] = stored["search_weights"].softmax(-1).half().float()
        stored["search_weights"][drawn(0.2)] = 0.0  # nobody searched there
        if agent.discrete:
            stored["search_actions"] = torch.eye(agent.action_dim).expand(*steps, -1, -1)
        return TensorBatch(
            obs={name: torch.randn((*steps, width), generator=g) for name, width in agent.inputs.vectors.items()},
            action=action,
            reward=torch.randn(steps, generator=g),
            reward_known=~drawn(unknown),
            is_first=firsts,
            is_last=last_ones,
            is_terminal=ended,
            stored=stored,
            window={
                "weight": torch.rand(size, generator=g) + 0.5,
                "age": torch.where(torch.arange(size) % 2 == 0, 3.0, 300.0),
            },
        )
