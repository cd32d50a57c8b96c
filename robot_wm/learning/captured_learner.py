"""What learners of every kind have in common: flat parameters and their optimiser, one captured update, a state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from robot_wm.errors import UserError
from robot_wm.learning.agent import Agent
from robot_wm.learning.batch import TensorBatch
from robot_wm.learning.captured import CapturedFunction, warm_up
from robot_wm.learning.compute_copy import ComputeCopy, FlatAgent
from robot_wm.learning.config import AgentConfig
from robot_wm.learning.finite_watch import FiniteWatch
from robot_wm.learning.host_memory import keep_freed_memory
from robot_wm.learning.learner import UpdateResult
from robot_wm.learning.ranks import ALONE, Ranks
from robot_wm.nn.compiled import compiling
from robot_wm.nn.laprop import LaProp

AgentType = TypeVar("AgentType", bound=Agent)
Noise = TypeVar("Noise")  # the randomness of an update


class CapturedLearner(ABC, Generic[AgentType, Noise]):
    """Trains ``agent`` in place on ``device``; every source of randomness comes from ``seed``.

    An update is a pure function of parameters, batch and noise with static shapes: it neither branches on values
    nor waits for the device. Computes in bfloat16 on CUDA, with float32 parameters, unless the config says otherwise.
    ``capture``: on CUDA the first update records the whole of it as one graph, which later ones replay.
    ``compiles`` (settable) tells whether an update is compiled on a CPU, too: minutes, once a process.
    ``averages`` names, by prefix, which slow parameters follow which trained ones; ``late`` as `LaProp` takes it.
    """

    def __init__(
        self,
        agent: AgentType,
        config: AgentConfig,
        device: torch.device | str,
        *,
        seed: int,
        capture: bool,
        averages: Mapping[str, str],
        late: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        self.agent, self.device = agent.to(device), torch.device(device)
        self.ranks: Ranks = ALONE
        self.compiles = False
        automatic = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.compute_dtype = automatic if config.compute == "auto" else getattr(torch, config.compute)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        if self.device.type == "cpu":
            keep_freed_memory()
        self._flat = FlatAgent(self.agent, averages=averages)
        self._copy = ComputeCopy(self._flat, self.compute_dtype)
        self.optimiser = LaProp(
            self._flat.trained,
            learning_rate=config.learning_rate,
            warmup=config.warmup,
            clip=config.clip,
            clip_floor=config.clip_floor,
            beta_momentum=config.beta_momentum,
            beta_rms=config.beta_rms,
            epsilon=config.rms_epsilon,
            late=late,
        )
        self._captures = capture and self.device.type == "cuda"
        self._captured: CapturedFunction[TensorBatch, UpdateResult] | None = None
        names = list(self._flat.trained.named)
        groups: dict[str, Sequence[str]] = {
            "batch": self._watched_fields(),
            "parameter": names,
            "loss": self._losses(),
            "gradient": names,
        }
        self._watch = FiniteWatch(groups, self.device)

    @abstractmethod
    def draw_noise(self, batch: TensorBatch) -> Noise:
        """The randomness of the next update, from the learner's generator."""

    @abstractmethod
    def _update(self, batch: TensorBatch, noise: Noise | None) -> UpdateResult: ...

    @abstractmethod
    def _watched_fields(self) -> list[str]:
        """What of a batch is looked at for numbers that are not finite, in the order of `_look`."""

    @abstractmethod
    def _losses(self) -> list[str]:
        """Names of the losses, in their order."""

    def join(self, ranks: Ranks) -> None:
        """Learn with others from the next update on; see `Learner.join`."""
        self._forget()
        self.ranks = ranks
        ranks.at_end(self._forget)
        ranks.spread(tensor for _, tensor in sorted(self._tensors().items()))

    def update(self, batch: TensorBatch, noise: Noise | None = None) -> UpdateResult:
        """One optimiser step on B sequences of T trained steps; ``noise`` is drawn from the generator if not given."""
        self.ranks.check()
        if noise is not None or not self._captures:
            with compiling(self.compiles):
                return self._update(batch, noise)
        if self._captured is None or not self._captured.takes(batch):
            self._captured = self._capture(batch)
        return self._captured(batch)

    def _forget(self) -> None:
        if self._captured is not None:
            self._captured.forget()
            self._captured = None

    def _capture(self, batch: TensorBatch) -> CapturedFunction[TensorBatch, UpdateResult]:
        """Record the update; parameters, optimiser and generator are afterwards as they were."""
        before, first_bad = self.state_dict(), self._watch.first.clone()
        warm_up(lambda: self._update(batch, None), self.device)
        captured = CapturedFunction(lambda example: self._update(example, None), batch, self.generator, self.ranks)
        self.load_state_dict(before)
        self._watch.first.copy_(first_bad)
        return captured

    @torch.no_grad()
    def _look(self, fields: list[Tensor], losses: Tensor) -> dict[str, Tensor]:
        """Metrics of the optimiser, and what stopped being finite; fields are summed, losses [L]."""
        optimiser = self.optimiser
        sums = torch.stack([field.sum() for field in fields])
        figures = [sums, optimiser.parameter_norms, losses, optimiser.gradient_norms]
        return {
            "optimiser/gradient_norm": optimiser.gradient_norms.norm(),
            "optimiser/parameter_norm": optimiser.parameter_norms.norm(),
            "optimiser/learning_rate": optimiser.rates.max().clone(),
            **self._watch.look(figures, optimiser.steps),
        }

    def first_nonfinite(self) -> str | None:
        """Name the batch field, parameter, loss or gradient that first was NaN or infinite; waits for the device."""
        return self._watch.first_nonfinite()

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next update depends on, as a flat dict of copies on the device.

        Keys: ``agent/*`` (with what is slow), ``optimiser/momentum/*``, ``optimiser/rms/*``, ``optimiser/steps``,
        ``generator`` (uint8, on the CPU), and what the kind has beside.
        """
        state = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}
        state["generator"] = self.generator.get_state()
        return state

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
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
        """What `state_dict` has, without the generator; a kind adds its own."""
        trained, optimiser = self._flat.trained, self.optimiser
        out = {f"agent/{name}": tensor for name, tensor in self.agent.state_dict().items()}
        for key, flat in (("momentum", optimiser.momentum), ("rms", optimiser.rms)):
            out.update({f"optimiser/{key}/{n}": v for n, v in zip(trained.named, trained.views(flat), strict=True)})
        out["optimiser/steps"] = optimiser.steps
        return out
