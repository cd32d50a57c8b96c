"""The learner: one update of world model, actor and critic from one batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.behavior import behavior_loss
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.dreamer.noise import Noise
from robot_wm.dreamer.pessimism import Pessimism
from robot_wm.dreamer.prediction import ObservedSequences, OpenLoop, observe_sequences, open_loop
from robot_wm.dreamer.world_model import world_model_loss
from robot_wm.errors import UserError
from robot_wm.learning.batch import TensorBatch
from robot_wm.learning.captured import CapturedFunction
from robot_wm.learning.compute_copy import ComputeCopy, FlatAgent
from robot_wm.learning.finite_watch import FiniteWatch
from robot_wm.learning.host_memory import keep_freed_memory
from robot_wm.learning.learner import Pictures, UpdateResult
from robot_wm.nn.laprop import LaProp
from robot_wm.nn.percentile import PercentileScale
from robot_wm.spec import AgentSpec

_WARM_UP = 3  # runs before a capture: compilers, libraries and the allocator settle


class DreamerLearner:
    """Trains ``agent`` in place on ``device``; every source of randomness comes from ``seed``.

    An update is a pure function of parameters, batch and noise with static shapes: it neither branches on values
    nor waits for the device. Computes in bfloat16 on CUDA, with float32 parameters, unless the config says otherwise.
    ``capture``: on CUDA the first update records the whole of it as one graph, which later ones replay.
    """

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
        self.agent, self.config, self.device = agent.to(device), config, torch.device(device)
        automatic = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.compute_dtype = automatic if config.compute == "auto" else getattr(torch, config.compute)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        if self.device.type == "cpu":
            keep_freed_memory()
        self._flat = FlatAgent(self.agent, averages={"slow_critic.": "critic."})
        self._copy = ComputeCopy(self._flat, self.compute_dtype)
        ramp = (config.actor_start, config.warmup if config.actor_warmup is None else config.actor_warmup)
        self.optimiser = LaProp(
            self._flat.trained,
            learning_rate=config.learning_rate,
            warmup=config.warmup,
            clip=config.clip,
            clip_floor=config.clip_floor,
            beta_momentum=config.beta_momentum,
            beta_rms=config.beta_rms,
            epsilon=config.rms_epsilon,
            late={name: ramp for name in self._flat.trained.named if _acts(name)},
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
        self._loss_scales = self._scales_by_loss()
        self._scale_values = torch.tensor(list(self._loss_scales.values()), device=self.device)  # [L]
        self._captures = capture and self.device.type == "cuda"
        self._captured: CapturedFunction[TensorBatch, UpdateResult] | None = None
        names = list(self._flat.trained.named)
        fields = [f"obs/{name}" for name in self.agent.inputs.vectors]
        self._watch = FiniteWatch(
            {
                "batch": [*fields, "action", "reward", "deter"],
                "parameter": names,
                "loss": list(self._loss_scales),
                "gradient": names,
            },
            self.device,
        )

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

    def update(self, batch: TensorBatch, noise: Noise | None = None) -> UpdateResult:
        """One optimiser step on B sequences of T trained steps; ``noise`` is drawn from the generator if not given."""
        if noise is not None or not self._captures:
            return self._update(batch, noise)
        if self._captured is None or not self._captured.takes(batch):
            self._captured = self._capture(batch)
        return self._captured(batch)

    def _capture(self, batch: TensorBatch) -> CapturedFunction[TensorBatch, UpdateResult]:
        """Record the update; parameters, optimiser and generator are afterwards as they were."""
        before, first_bad = self.state_dict(), self._watch.first.clone()
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self._update(batch, None)
        torch.cuda.current_stream(self.device).wait_stream(side)
        captured = CapturedFunction(lambda example: self._update(example, None), batch, self.generator)
        self.load_state_dict(before)
        self._watch.first.copy_(first_bad)
        return captured

    def _update(self, batch: TensorBatch, noise: Noise | None) -> UpdateResult:
        noise = self.draw_noise(batch) if noise is None else noise
        self._copy.refresh()
        model = world_model_loss(self._copy.agent, batch, noise.posterior)
        feature = model.posterior.feature
        behavior = behavior_loss(
            self._copy.agent, batch, feature, noise, self.return_scale, self._pessimism, self._first_actor
        )
        losses = {**model.losses, **behavior.losses}
        terms = torch.stack([losses[name] for name in self._loss_scales])  # [L]
        gradients = torch.autograd.grad(terms @ self._scale_values, self._copy.parameters)
        self.optimiser.step(gradients)
        self._flat.average_slow(self.config.slow_rate)
        doubts = {} if self._pessimism is None else self._pessimism.update(batch, model.posterior, self.compute_dtype)
        with torch.no_grad():
            names = [f"loss/{name}" for name in self._loss_scales]
            metrics = dict(zip(names, terms.detach().unbind(0), strict=True))
            # Of the rewards that are known; the loss has all T*B steps below the line.
            known = batch.reward_known[:, 1:].float()
            metrics["loss/reward"] = metrics["loss/reward"] / known.mean().clamp(min=1.0 / known.numel())
            metrics.update(behavior.metrics | doubts)
            metrics["model/prior_entropy"] = model.prior_entropy
            metrics["model/posterior_entropy"] = model.posterior_entropy
            metrics["optimiser/gradient_norm"] = self.optimiser.gradient_norms.norm()
            metrics["optimiser/parameter_norm"] = self.optimiser.parameter_norms.norm()
            metrics["optimiser/learning_rate"] = self.optimiser.rates.max().clone()
            metrics["optimiser/actor_learning_rate"] = self.optimiser.rates[self._first_of_actor].clone()
            sums = [batch.obs[name].sum() for name in self.agent.inputs.vectors]
            sums += [batch.action.sum(), batch.reward.sum(), batch.stored["deter"].sum()]
            figures = [torch.stack(sums), self.optimiser.parameter_norms, terms, self.optimiser.gradient_norms]
            metrics.update(self._watch.look(figures, self.optimiser.steps))
            deter = model.posterior.feature[..., : self.config.deter].detach().transpose(0, 1)  # [B, T, D]
            write_back = {"deter": deter, "stoch": model.posterior.classes.transpose(0, 1)}
        return UpdateResult(metrics, write_back)

    def first_nonfinite(self) -> str | None:
        """Name the batch field, parameter, loss or gradient that first was NaN or infinite; waits for the device."""
        return self._watch.first_nonfinite()

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
        from robot_wm.dreamer.pictures import draw_prediction, prediction_video

        shown = self.open_loop(batch, context=max(1, (batch.reward.shape[1] - 1) // 4))
        films = {field.name: prediction_video(shown, field.name) for field in spec.observations if field.is_image}
        return Pictures(stills={"open_loop": draw_prediction(shown, spec)}, films=films)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next update depends on, as a flat dict of copies on the device.

        Keys: ``agent/*`` (with the slow critic), ``optimiser/momentum/*``, ``optimiser/rms/*``, ``optimiser/steps``,
        ``return_scale/*``, ``pessimism/*`` and ``first_actor/*`` where there is any, ``generator`` (uint8, on the CPU).
        """
        state = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}
        state["generator"] = self.generator.get_state()
        return state

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue exactly where ``state_dict`` was taken; UserError names a missing, extra or misshapen tensor."""
        own = self._tensors()
        for name in own.keys() | {"generator"} | state.keys():
            if name not in state or (name not in own and name != "generator"):
                raise UserError(f"checkpoint: tensor {name} is {'missing' if name not in state else 'not known'}")
            if name in own and own[name].shape != state[name].shape:
                shapes = f"{tuple(state[name].shape)}, the agent's {tuple(own[name].shape)}"
                raise UserError(f"checkpoint: tensor {name} has shape {shapes}")
        for name, tensor in own.items():
            tensor.copy_(state[name])
        self.generator.set_state(state["generator"].cpu())

    def _tensors(self) -> dict[str, Tensor]:
        trained, optimiser = self._flat.trained, self.optimiser
        out = {f"agent/{name}": tensor for name, tensor in self.agent.state_dict().items()}
        for key, flat in (("momentum", optimiser.momentum), ("rms", optimiser.rms)):
            out.update({f"optimiser/{key}/{n}": v for n, v in zip(trained.named, trained.views(flat), strict=True)})
        out["optimiser/steps"] = optimiser.steps
        out.update({f"return_scale/{name}": tensor for name, tensor in self.return_scale.state_dict().items()})
        if self._pessimism is not None:
            out.update({f"pessimism/{name}": tensor for name, tensor in self._pessimism.tensors().items()})
        if self._first_actor is not None:
            out.update({f"first_actor/{name}": tensor for name, tensor in self._first_actor.state_dict().items()})
        return out

    def _scales_by_loss(self) -> dict[str, float]:
        config, inputs = self.config, self.agent.inputs
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


def _acts(parameter: str) -> bool:
    return parameter.startswith("actor.")
