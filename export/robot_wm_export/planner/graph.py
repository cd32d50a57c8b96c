"""A planner over an agent's model as one torch module with the bundle's tensor names.

Shape letters: N candidates, K steps, A action dimensions, L numbers of a latent; the batch axis is 1 in every tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robot_wm.errors import UserError
from robot_wm.learning.agent import Agent
from robot_wm.runtime.graph_tensors import NoiseTensor, TensorSpec
from robot_wm.runtime.planner_section import PlannerKind, output_shapes
from robot_wm.search.flat import FlatConfig, FlatPlanner
from robot_wm.search.halving import HalvingConfig, HalvingPlanner
from robot_wm.search.latent_model import StagedModel
from robot_wm_export.exporters import planning_exporter_of

NOISE = "noise/plan"


@dataclass(frozen=True)
class MadePlanner:
    """A planner of `robot_wm.search`."""

    module: nn.Module  # latent [1, L], noise [1, *, K, A] -> PlanOutput
    noise_shape: tuple[int, ...]
    decides: bool  # takes the best candidate


def _flat(model: StagedModel, candidates: int, depth: int) -> MadePlanner:
    config = FlatConfig(candidates=candidates, depth=depth)
    planner = FlatPlanner(model, config)
    return MadePlanner(planner, planner.noise_shape, model.discrete or config.temperature == 0.0)


def _halving(model: StagedModel, candidates: int, depth: int) -> MadePlanner:
    planner = HalvingPlanner(model, HalvingConfig(candidates=candidates, depth=depth))
    return MadePlanner(planner, planner.noise_shape, True)


PLANNERS: Mapping[PlannerKind, Callable[[StagedModel, int, int], MadePlanner]] = {"flat": _flat, "halving": _halving}


class PlannerGraph(nn.Module):
    """A planner that starts where the agent's tick is, with its inputs and outputs in a flat, named order.

    ``inputs``: the outputs of the tick that make the latent, then ``noise/plan``; outputs as `output_shapes` has them.
    Raises UserError for an agent whose exporter offers no model to plan with, and for settings that no planner has.
    """

    name = "planner"

    def __init__(self, agent: Agent, kind: PlannerKind, *, candidates: int, depth: int) -> None:
        super().__init__()
        exporter = planning_exporter_of(agent.kind)
        model = exporter.latent_model(agent)
        if kind not in PLANNERS:
            raise UserError(f"planner {kind!r} is not one of {', '.join(PLANNERS)}")
        try:
            made = PLANNERS[kind](model, candidates, depth)
        except ValueError as error:
            raise UserError(f"planner {kind}: {error}") from None
        self.decides, self.root = made.decides, exporter.root
        self._make_deployed = lambda: PLANNERS[kind](exporter.deployed_model(agent), candidates, depth)
        distribution: Literal["gumbel", "normal"] = "gumbel" if model.discrete else "normal"
        self.noise = (NoiseTensor(name=NOISE, shape=made.noise_shape, distribution=distribution),)
        shapes = {entry.name: entry.shape for entry in agent.outputs} | {e.output: e.shape for e in agent.state}
        self.inputs = (
            *(TensorSpec(name=name, shape=shapes[name]) for name in self.root),
            *(TensorSpec(name=entry.name, shape=entry.shape) for entry in self.noise),
        )
        self.output_shapes = output_shapes(candidates, depth, model.action_dim)
        self.output_names = tuple(self.output_shapes)
        self.planner = _Flattened(made.module, self.output_names)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """``inputs`` in their order -> ``output_names`` in theirs, by the agent's own model."""
        made: tuple[Tensor, ...] = self.planner(*tensors)
        return made

    def deployed(self) -> nn.Module:
        """The same over the model laid out for engines, on the agent's weights as they are now."""
        return _Flattened(self._make_deployed().module, self.output_names)

    def example(self) -> tuple[Tensor, ...]:
        """Zeros of every input's shape, to trace with."""
        return tuple(torch.zeros(entry.shape) for entry in self.inputs)

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Plan eagerly, one root after the other: inputs by name [P, *shape] -> outputs by name [P, *shape]."""
        plans = len(next(iter(inputs.values())))
        made = [self(*(torch.from_numpy(inputs[e.name][plan]) for e in self.inputs)) for plan in range(plans)]
        return {
            name: np.stack([values[index].numpy() for values in made]) for index, name in enumerate(self.output_names)
        }


class _Flattened(nn.Module):
    """A planner with tensors for arguments and results: the latent is the roots side by side, the noise comes last."""

    def __init__(self, planner: nn.Module, output_names: tuple[str, ...]) -> None:
        super().__init__()
        self.planner, self.output_names = planner.eval(), output_names

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        *roots, noise = tensors
        out = self.planner(torch.cat([root.flatten(1) for root in roots], -1), noise)._asdict()
        return tuple(out[name] for name in self.output_names)
