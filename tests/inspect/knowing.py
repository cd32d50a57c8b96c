"""An agent that knows the world of `toy_envs.Drift` in closed form, and the faults that can be planted in it.

A point moves by half the action, its reward is how far it is from 0, and the policy goes there by a fifth a step: from
x the return of h steps is -|x| times the sum of g^(k-1) * 0.8^k over k = 1..h.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robot_wm.learning.agent import Agent, Tick
from robot_wm.learning.imagination import Imagination, LatentPart
from robot_wm.nn.heads import Policy
from robot_wm.runtime.graph_tensors import NoiseTensor, StateTensor, TensorSpec
from robot_wm.search.latent_model import Outcome, StagedModel

DRIFT = "gym:toy_envs:toys/Drift-v0"
GAIN, STRENGTH, DISCOUNT = 0.5, 0.4, 0.9
SHRINKS = 1.0 - GAIN * STRENGTH


def drift_return(at: float, steps: int) -> float:
    """What the policy gets from a place, by the sum above."""
    return -abs(at) * sum(DISCOUNT ** (k - 1) * SHRINKS**k for k in range(1, steps + 1))


@dataclass(frozen=True)
class Faults:
    """What is planted; by default nothing."""

    gain: float = GAIN  # that the model believes in
    reward_shift: float = 0.0
    reward_lag: int = 0  # control steps that a reward is told late
    goes_on: float = 1.0  # chance that it believes in
    value_factor: float = 1.0
    blind: bool = False  # every place is imagined to be the same


SOUND = Faults()


class DriftModel(StagedModel):
    """A latent is where the point is and was, newest first [N, 3]."""

    action_dim, discrete = 1, False

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self.faults = faults

    def lead(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        at = latent[:, :1] + self.faults.gain * action
        after = torch.cat([at, latent[:, :2]], -1)
        return after, after

    def outcome(self, shown: Tensor) -> Outcome:
        faults = self.faults
        reward = -shown[:, faults.reward_lag].abs() + faults.reward_shift
        if faults.blind:
            reward = torch.full_like(reward, -0.2)
        return Outcome(reward, torch.full_like(reward, DISCOUNT * faults.goes_on))

    def policy(self, latent: Tensor) -> Policy:
        return Policy(-STRENGTH * latent[:, :1], torch.full_like(latent[:, :1], 0.1))

    def value(self, latent: Tensor) -> Tensor:
        return -latent[:, 0].abs() * SHRINKS / (1 - DISCOUNT * SHRINKS) * self.faults.value_factor


class Knowing(Agent):
    """Sees the point and knows the rest."""

    kind = "knowing"

    def __init__(self, faults: Faults = SOUND) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.model = DriftModel(faults)
        self.state = (StateTensor(name="place", input="state/place", output="next/place", shape=(1, 3)),)
        self.noise = (NoiseTensor(name="noise/action", shape=(1, 1), distribution="normal"),)
        self.outputs = tuple(TensorSpec(name=name, shape=(1,)) for name in ("action", "value", "surprise"))
        self.draws, self.surprise_unit, self.stored = (), None, ()

    def tick(self, obs, is_first, state, noise):
        at, was = obs["at"], state["place"]
        before = torch.where(is_first.bool()[:, None], at.expand(-1, 2), was[:, :2])
        place = torch.cat([at, before], -1)  # [N, 3]
        action = self.model.policy(place).sample(noise["noise/action"]).clamp(-1.0, 1.0)
        outputs = {"action": action, "value": self.model.value(place), "surprise": torch.zeros(len(at))}
        return Tick(outputs, {"place": place}, {})

    def acting(self):
        yield self.weight

    def imagination(self, generator=None):
        return Imagination(
            self.model, lambda state: state["place"], (LatentPart("place", 3, 1),), discount=DISCOUNT, horizon=5
        )
