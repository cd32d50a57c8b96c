"""The learner: one update of MuZero's model, policy and value from one batch.

Shape letters: B windows, T steps of a window, K unroll, K1 = K + 1 positions, W windows searched again.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robot_wm.learning.batch import TensorBatch
from robot_wm.learning.captured_learner import CapturedLearner
from robot_wm.learning.learner import Pictures, UpdateResult
from robot_wm.muzero import targets
from robot_wm.muzero.agent import MuZeroAgent
from robot_wm.muzero.config import MuZeroConfig
from robot_wm.muzero.losses import LOSSES, Goals, Unroll, losses, search_gain, unroll
from robot_wm.muzero.reanalyse import renewed, search_again
from robot_wm.muzero.thinking import Searched
from robot_wm.search.sampled import SearchNoise, draw_noise
from robot_wm.spec import AgentSpec


class MuZeroLearner(CapturedLearner[MuZeroAgent, SearchNoise]):
    """Trains h, g and f; see `CapturedLearner`. The searches of reanalysis are a part of the update."""

    def __init__(
        self,
        agent: MuZeroAgent,
        config: MuZeroConfig,
        device: torch.device | str,
        *,
        seed: int = 0,
        capture: bool = True,
    ) -> None:
        if config != agent.config:
            raise ValueError("the learner's config differs from the agent's")
        self.config = config
        super().__init__(agent, config, device, seed=seed, capture=capture, averages={"target.": "model."})
        scales = {
            "reward": config.scale_reward,
            "value": config.scale_value,
            "policy": config.scale_policy,
            "continue": config.scale_continue,
            "consistency": config.scale_consistency,
            "entropy": config.scale_entropy,
        }
        self._scale_values = torch.tensor([scales[name] for name in LOSSES], device=self.device)  # [losses]

    def _watched_fields(self) -> list[str]:
        return [*(f"obs/{name}" for name in self.agent.inputs.vectors), "action", "reward", "search_value"]

    def _losses(self) -> list[str]:
        return list(LOSSES)

    def draw_noise(self, batch: TensorBatch) -> SearchNoise:
        """The randomness of the next update's searches, from the learner's generator."""
        return self._draw(self._searched_again(batch) * self._positions, self.generator)

    def _draw(self, searches: int, generator: torch.Generator) -> SearchNoise:
        return draw_noise(
            self.agent.search,
            batch=searches,
            action_dim=self.agent.action_dim,
            discrete=self.agent.discrete,
            device=self.device,
            generator=generator,
        )

    @property
    def _positions(self) -> int:
        """K1."""
        return self.config.unroll + 1

    def _searched_again(self, batch: TensorBatch) -> int:
        """W: of the batch's last windows; those that are drawn for the first time come first."""
        return round(self.config.reanalyse * batch.reward.shape[0])

    def _update(self, batch: TensorBatch, noise: SearchNoise | None) -> UpdateResult:
        noise = self.draw_noise(batch) if noise is None else noise
        self._copy.refresh()
        agent = self._copy.agent
        latent = self._seen_by_target(agent, batch)
        searched, write_back = self._searches(agent, batch, latent, noise)
        goals, taken = self._goals(agent, batch, latent, searched)
        model = self._unroll(agent, batch)
        found = losses(agent, model, goals, batch.window["weight"])
        terms = torch.stack([found[name] for name in LOSSES])  # [losses]
        gradients = torch.autograd.grad(terms @ self._scale_values, self._copy.parameters)
        self.optimiser.step(self.ranks.mean(gradients)())
        self._flat.average_slow(self.config.target_rate)
        with torch.no_grad():
            value = agent.model.critic.twohot.mean(model.value)  # [B, K1]
            error = (value - goals.value.target).abs() * goals.value.mask
            metrics = {f"loss/{name}": term for name, term in zip(LOSSES, terms.detach().unbind(0), strict=True)}
            metrics |= self._measured(batch, model, goals, taken, value, error)
            fields = [batch.obs[name] for name in self.agent.inputs.vectors]
            metrics |= self._look([*fields, batch.action, batch.reward, searched.value], terms)
        return UpdateResult(metrics, write_back, error[:, 0])

    def _unroll(self, agent: MuZeroAgent, batch: TensorBatch) -> Unroll:
        """From step 1 on, along the actions after it."""
        root = agent.model.representation({name: value[:, 1] for name, value in batch.obs.items()})  # [B, L]
        return unroll(agent, root, batch.action[:, 1 : self._positions])

    @staticmethod
    @torch.no_grad()
    def _seen_by_target(agent: MuZeroAgent, batch: TensorBatch) -> Tensor:
        """Latents of steps 1..T by the target network, [B, T, L]."""
        obs = {name: value[:, 1:].flatten(0, 1) for name, value in batch.obs.items()}
        return agent.target.representation(obs).unflatten(0, (batch.reward.shape[0], -1))  # type: ignore[no-any-return]

    def _searches(
        self, agent: MuZeroAgent, batch: TensorBatch, latent: Tensor, noise: SearchNoise
    ) -> tuple[Searched, dict[str, Tensor]]:
        """What is known of the first K1 positions [B, K1, ...], and what of it is new to the replay [W, K1, ...]."""
        stored = self._stored(batch)
        if not (count := self._searched_again(batch)):
            return stored, {}
        again = search_again(agent, latent[-count:, : self._positions], noise)
        return renewed(stored, again), again.to_stored()

    def _stored(self, batch: TensorBatch) -> Searched:
        return Searched(*(value[:, 1 : 1 + self._positions] for value in Searched.from_stored(batch.stored)))

    @torch.no_grad()
    def _goals(
        self, agent: MuZeroAgent, batch: TensorBatch, latent: Tensor, searched: Searched
    ) -> tuple[Goals, Tensor]:
        """What the unroll is held to, and [B, K1] where a search's value is."""
        config, trained = self.config, slice(1, None)
        way = targets.course(*(flags[:, trained] for flags in (batch.is_first, batch.is_last, batch.is_terminal)))
        reward, known = batch.reward[:, trained], batch.reward_known[:, trained]
        bootstrap = agent.target.value(latent)  # [B, T]
        fresh = targets.bootstrapped(
            reward, known, bootstrap, way,
            discount=config.discount, steps=config.td_steps, positions=self._positions,
        )  # fmt: skip
        stale = batch.window["age"] >= config.search_value_age
        value, taken = targets.mixed_with_search(fresh, searched.value, searched.known, stale, way)
        after = {name: rows[:, 2 : 1 + self._positions].flatten(0, 1) for name, rows in batch.obs.items()}
        projection = agent.consistency.project(agent.model.representation(after))
        goals = Goals(
            reward=targets.rewards(reward, known, way, unroll=config.unroll),
            value=value,
            cont=targets.continues(way, unroll=config.unroll),
            searched=searched,
            chosen=targets.choices(searched.known, way),
            projection=projection.unflatten(0, (-1, config.unroll)),
            seen=targets.seen(way, unroll=config.unroll),
        )
        return goals, taken

    @staticmethod
    def _measured(
        batch: TensorBatch, model: Unroll, goals: Goals, taken: Tensor, value: Tensor, error: Tensor
    ) -> dict[str, Tensor]:
        """Of the states that are told anything: the mean."""

        def mean(figure: Tensor, mask: Tensor) -> Tensor:
            return (figure * mask).sum() / mask.sum().clamp(min=1.0)

        told, chosen = goals.value.mask, goals.chosen
        return {
            "value/error": mean(error, told),
            "value/mean": mean(value, told),
            "value/target": mean(goals.value.target, told),
            "search/share": mean(taken.float(), told),  # of value targets that are a search's
            "search/gain": mean(search_gain(model.policy, goals.searched), chosen),  # nats
            "search/value": mean(goals.searched.value, chosen),
            # Of what states are compared by: 0 where h has come to see one point everywhere, 1 where all directions.
            "model/spread": F.normalize(goals.projection.flatten(0, 1), dim=-1).var(0).sum().sqrt(),
            "policy/entropy": mean(model.policy.entropy(), chosen),
            "replay/age": batch.window["age"].mean(),  # steps
            "replay/weight": batch.window["weight"].mean(),
        }

    @torch.no_grad()
    def recompute_stored(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Searches at steps 1..T, by noise that is always the same; see `Learner.recompute_stored`."""
        latent = self._seen_by_target(self.agent, batch)
        generator = torch.Generator(self.device).manual_seed(0)
        noise = self._draw(batch.reward[:, 1:].numel(), generator)
        return search_again(self.agent, latent, noise).to_stored()

    @torch.no_grad()
    def report(self, batch: TensorBatch, spec: AgentSpec) -> Pictures:
        """The model unrolled along recorded actions, its rewards, continues and values beside what came of them."""
        from robot_wm.muzero.pictures import draw_unroll

        model = self._unroll(self.agent, batch)
        latent = self._seen_by_target(self.agent, batch)
        goals, _ = self._goals(self.agent, batch, latent, self._stored(batch))
        return Pictures(stills={"unroll": draw_unroll(self.agent, model, goals)})
