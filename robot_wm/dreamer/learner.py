"""The learner: one update of world model, actor and critic from one batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.behavior import behavior_loss
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.dreamer.noise import Noise
from robot_wm.dreamer.pessimism import Pessimism
from robot_wm.dreamer.prediction import ObservedSequences, OpenLoop, observe_sequences, open_loop
from robot_wm.dreamer.world_model import Posterior, world_model_loss
from robot_wm.learning.batch import TensorBatch
from robot_wm.learning.captured_learner import CapturedLearner
from robot_wm.learning.learner import Pictures, UpdateResult
from robot_wm.nn.percentile import PercentileScale
from robot_wm.raster import raster
from robot_wm.spec import AgentSpec


class DreamerLearner(CapturedLearner[DreamerAgent, Noise]):
    """Trains world model, actor and critic; see `CapturedLearner`."""

    def __init__(
        self,
        agent: DreamerAgent,
        config: DreamerConfig,
        device: torch.device | str,
        *,
        seed: int = 0,
        capture: bool = True,
    ) -> None:
        if config != agent.config:
            raise ValueError("the learner's config differs from the agent's")
        self.config = config
        self._loss_scales = _scales_by_loss(agent)
        ramp = (config.actor_start, config.warmup if config.actor_warmup is None else config.actor_warmup)
        acts = [name for name, parameter in agent.named_parameters() if _acts(name) and parameter.requires_grad]
        super().__init__(
            agent,
            config,
            device,
            seed=seed,
            capture=capture,
            averages={"slow_critic.": "critic."},
            late=dict.fromkeys(acts, ramp),
        )
        self.return_scale = PercentileScale(
            rate=config.return_rate, low=config.return_low, high=config.return_high, limit=config.return_limit
        ).to(self.device)
        self._pessimism: Pessimism | None = None
        if config.pessimism > 0:
            self._pessimism = Pessimism(config, agent.action_dim, self.device, seed=seed)
        # In the compute dtype, and apart from what is trained.
        self._first_actor = copy.deepcopy(self._copy.agent.actor).requires_grad_(False) if config.anchor > 0 else None
        self._first_of_actor = next(n for n, name in enumerate(self._flat.trained.named) if _acts(name))
        self._scale_values = torch.tensor(list(self._loss_scales.values()), device=self.device)  # [L]
        pairs = list(zip(self._flat.trained.named, self._copy.parameters, strict=True))
        self._of_heads = [parameter for name, parameter in pairs if not _sees(name)]
        self._of_scan = [parameter for name, parameter in pairs if _sees(name)]

    def _watched_fields(self) -> list[str]:
        return [*(f"obs/{name}" for name in self.agent.inputs.vectors), "action", "reward", "deter"]

    def _losses(self) -> list[str]:
        return list(self._loss_scales)

    def draw_noise(self, batch: TensorBatch) -> Noise:
        """The randomness of the next update, from the learner's generator."""
        return Noise.draw(
            self.config,
            batch=batch.reward.shape[0],
            length=batch.reward.shape[1] - 1,
            action=self.agent.action_dim,
            discrete=self.agent.discrete,
            generator=self.generator,
        )

    def _update(self, batch: TensorBatch, noise: Noise | None) -> UpdateResult:
        noise = self.draw_noise(batch) if noise is None else noise
        self._copy.refresh()
        model = world_model_loss(self._copy.agent, batch, noise.posterior)
        feature = model.posterior.feature
        behavior = behavior_loss(
            self._copy.agent, batch, feature, noise, self.return_scale, self._pessimism, self._first_actor, self.ranks
        )
        losses = {**model.losses, **behavior.losses}
        terms = torch.stack([losses[name] for name in self._loss_scales])  # [L]
        self.optimiser.step(self._gradients(terms @ self._scale_values, model.posterior))
        self._flat.average_slow(self.config.slow_rate)
        doubts: dict[str, Tensor] = {}
        if self._pessimism is not None:
            doubts = self._pessimism.update(batch, model.posterior, self.compute_dtype, self.ranks)
        with torch.no_grad():
            names = [f"loss/{name}" for name in self._loss_scales]
            metrics = dict(zip(names, terms.detach().unbind(0), strict=True))
            # Of the rewards that are known; the loss has all T*B steps below the line.
            known = batch.reward_known[:, 1:].float()
            metrics["loss/reward"] = metrics["loss/reward"] / known.mean().clamp(min=1.0 / known.numel())
            metrics.update(behavior.metrics | doubts)
            metrics["model/prior_entropy"] = model.prior_entropy
            metrics["model/posterior_entropy"] = model.posterior_entropy
            fields = [batch.obs[name] for name in self.agent.inputs.vectors]
            metrics.update(self._look([*fields, batch.action, batch.reward, batch.stored["deter"]], terms))
            metrics["optimiser/actor_learning_rate"] = self.optimiser.rates[self._first_of_actor].clone()
            deter = model.posterior.feature[..., : self.config.deter].detach().transpose(0, 1)  # [B, T, D]
            write_back = {"deter": deter, "stoch": model.posterior.classes.transpose(0, 1)}
        return UpdateResult(metrics, write_back)

    def _gradients(self, loss: Tensor, posterior: Posterior) -> Sequence[Tensor]:
        """Of all trained parameters, in their order, averaged over the ranks.

        Those of the heads are there before the scan's backward pass, which is most of an update, and are exchanged
        beside it.
        """
        seen = (posterior.feature, posterior.probs)
        *of_heads, of_feature, of_probs = torch.autograd.grad(loss, [*self._of_heads, *seen])
        heads = self.ranks.mean(of_heads)
        scan = self.ranks.mean(torch.autograd.grad(seen, self._of_scan, [of_feature, of_probs]))
        left = {True: iter(scan()), False: iter(heads())}
        return [next(left[_sees(name)]) for name in self._flat.trained.named]

    def observe(self, batch: TensorBatch) -> ObservedSequences:
        """Posterior of whole sequences, most likely latents, without training."""
        return observe_sequences(self.agent, batch)

    def recompute_stored(self, batch: TensorBatch) -> dict[str, Tensor]:
        """The posterior of steps 1..T, most likely latents; see `Learner.recompute_stored`."""
        found = self.observe(batch)
        return {"deter": found.deter, "stoch": found.stoch}

    def open_loop(self, batch: TensorBatch, *, context: int = 5, generator: torch.Generator | None = None) -> OpenLoop:
        """Predict every sequence from its first ``context`` trained steps and its actions; see ``OpenLoop``."""
        return open_loop(self.agent, batch, context=context, generator=generator)

    def report(self, batch: TensorBatch, spec: AgentSpec) -> Pictures:
        """Open loop: a quarter of each sequence is seen, the rest imagined; drawn, and for each camera filmed."""
        from robot_wm.dreamer.pictures import prediction_figure, prediction_video

        shown = self.open_loop(batch, context=max(1, (batch.reward.shape[1] - 1) // 4))
        films = {field.name: prediction_video(shown, field.name) for field in spec.observations if field.is_image}
        return Pictures(stills={"open_loop": raster(prediction_figure(shown, spec))}, films=films)

    def _tensors(self) -> dict[str, Tensor]:
        out = super()._tensors()
        out.update({f"return_scale/{name}": tensor for name, tensor in self.return_scale.state_dict().items()})
        if self._pessimism is not None:
            out.update({f"pessimism/{name}": tensor for name, tensor in self._pessimism.tensors().items()})
        if self._first_actor is not None:
            out.update({f"first_actor/{name}": tensor for name, tensor in self._first_actor.state_dict().items()})
        return out


def _scales_by_loss(agent: DreamerAgent) -> dict[str, float]:
    config, inputs = agent.config, agent.inputs
    return {
        "dynamics": config.scale_dynamics,
        "representation": config.scale_representation,
        **{f"rec/{name}": config.scale_reconstruction for name in (*inputs.vectors, *inputs.images)},
        "reward": config.scale_reward,
        "continue": config.scale_continue,
        "policy": config.scale_policy,
        "value": config.scale_value,
        "replay_value": config.scale_replay_value,
    }


def _sees(parameter: str) -> bool:
    """Whether it has its gradient through the posterior scan, and no other."""
    return parameter.startswith(("encoder.", "rssm.gru.", "rssm.posterior"))


def _acts(parameter: str) -> bool:
    return parameter.startswith("actor.")
