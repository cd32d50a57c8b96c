"""The fused tick as one torch module with the bundle's tensor names, and what both exporters trace of it.

The batch axis is 1 in every tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robot_wm.learning.agent import Agent
from robot_wm.runtime.graph_tensors import graph_inputs
from robot_wm.spec import AgentSpec
from robot_wm_export.exporters import exporter_of


class TickGraph(nn.Module):
    """An agent's tick with its inputs and outputs in a flat, named order, which follows from what it declares.

    ``inputs``: ``obs/<field>`` in the spec's order, ``is_first`` [1], then state and noise. Outputs: the agent's, then
    the next state but for what of it they show: there no node has to copy it.
    """

    name = "tick"

    def __init__(self, agent: Agent, spec: AgentSpec) -> None:
        super().__init__()
        self.agent = agent
        self.exporter = exporter_of(agent.kind)
        self.is_discrete = spec.action.is_discrete
        self.fields = tuple(spec.model_inputs())
        self.state, self.noise, self.outputs, self.draws = agent.state, agent.noise, agent.outputs, agent.draws
        self.inputs = graph_inputs(spec, agent.state, agent.noise)

    @property
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every output, batch axis included, in the order of ``forward``."""
        return {output.name: output.shape for output in self.outputs} | {
            state.output: state.shape for state in self.state
        }

    @property
    def output_names(self) -> tuple[str, ...]:
        """Every output in the order of ``forward``."""
        return tuple(self.output_shapes)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """``inputs`` in their order -> ``output_names`` in theirs: the agent's own tick, which exports are held to."""
        given = dict(zip((entry.name for entry in self.inputs), tensors, strict=True))
        made = self.agent.tick(
            {name: given[f"obs/{name}"] for name in self.fields},
            given["is_first"],
            {state.name: given[state.input] for state in self.state},
            {noise.name: given[noise.name] for noise in self.noise},
        )
        values = {state.output: made.state[state.name] for state in self.state} | made.outputs
        return tuple(values[name] for name in self.output_names)

    def deployed(self) -> nn.Module:
        """The same graph on the agent's weights as they are now, laid out for engines: what is exported."""
        return self.exporter.deployed(self.agent, self.fields)

    def example(self) -> tuple[Tensor, ...]:
        """Zeros of every input's shape and type, to trace with."""
        return tuple(torch.zeros(entry.shape, dtype=getattr(torch, entry.dtype)) for entry in self.inputs)

    @torch.inference_mode()
    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """One eager tick: arrays by input name -> arrays by output name, float32."""
        values = self(*(torch.from_numpy(feed[entry.name]) for entry in self.inputs))
        return {name: value.numpy() for name, value in zip(self.output_names, values, strict=True)}
