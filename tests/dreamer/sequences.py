"""Small learners of Dreamer and random sequences for them."""

import torch

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.dreamer.learner import DreamerLearner
from robot_wm.learning.batch import TensorBatch
from robot_wm.spec import InputShape
from robot_wm.step import each

TINY = {"size": "nano", "deter": 16, "hidden": 8, "stoch": 4, "classes": 3, "units": 8, "depth": 2, "bins": 31}


class Workshop:
    """Makes learners and batches that fit together; two of one seed are equal."""

    def learner(self, *, obs="proprio", discrete=False, action=2, seed=0, learner_seed=0, **settings):
        config = DreamerConfig(**{**TINY, "warmup": 0, "horizon": 3, **settings})
        inputs = {}
        if obs in ("proprio", "both"):
            inputs["joints"] = InputShape(shape=(5,), dtype="float32")
            inputs["goal"] = InputShape(shape=(2,), dtype="float32")
        if obs in ("image", "both"):
            inputs["camera"] = InputShape(shape=(48, 64, 3), dtype="uint8")
        agent = DreamerAgent(config, inputs, action, discrete, generator=torch.Generator().manual_seed(seed))
        return DreamerLearner(agent, config, "cpu", seed=learner_seed)

    def awake(self, **settings):
        """A learner whose zero-initialised heads have weights, so that every loss has a gradient everywhere."""
        learner = self.learner(**settings)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for head in (learner.agent.reward, learner.agent.critic, learner.agent.slow_critic):
                head.out.weight.normal_(0, 0.3, generator=generator)
            learner.agent.actor.out.weight.mul_(30)
        return learner

    def batch(self, learner, *, size=3, length=6, seed=0, first=0.0):
        g = torch.Generator().manual_seed(seed)
        agent, config = learner.agent, learner.config
        steps = (size, length + 1)
        obs = {name: torch.randn((*steps, width), generator=g) for name, width in agent.inputs.vectors.items()}
        for name, shape in agent.inputs.images.items():
            obs[name] = torch.randint(0, 256, (*steps, *shape), generator=g, dtype=torch.uint8)
        action = torch.rand((*steps, agent.action_dim), generator=g) * 2 - 1
        if agent.discrete:
            action = torch.nn.functional.one_hot(action.argmax(-1), agent.action_dim).float()
        return TensorBatch(
            obs=obs,
            action=action,
            reward=torch.randn(steps, generator=g),
            reward_known=torch.ones(steps, dtype=torch.bool),
            is_first=torch.rand(steps, generator=g) < first,
            is_last=torch.rand(steps, generator=g) < 0.1,
            is_terminal=torch.rand(steps, generator=g) < 0.1,
            stored={
                "deter": torch.rand(size, config.deter, generator=g) - 0.5,
                "stoch": torch.randint(0, config.classes, (size, config.stoch), generator=g).to(torch.uint8),
            },
        )

    def changed(self, thing, change):
        """A dataclass of tensors and dicts of them, each tensor changed."""
        return type(thing)(**each(change, thing))
