"""The fused tick as one torch module with the bundle's tensor names, and what both exporters trace of it.

Shape letters: D deter, S stoch groups, C classes, A action dimensions; the batch axis is 1 in every tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robot_wm.dreamer.agent import DreamerAgent, TickOutput, TickState
from robot_wm.runtime.graph_tensors import Draw, NoiseTensor, StateTensor, TensorSpec
from robot_wm.spec import AgentSpec
from robot_wm_export.deployed_tick import DeployedTick

_Tick = Callable[[Mapping[str, Tensor], Tensor, TickState, Tensor, Tensor], TickOutput]


class TickGraph(nn.Module):
    """``DreamerAgent.tick`` with its inputs and outputs in a flat, named order.

    ``inputs``: ``obs/<field>`` in the spec's order, ``is_first`` [1], ``state/deter`` [1, D], ``state/stoch``
    [1, S, C], ``state/action`` [1, A], ``noise/latent`` [1, S, C], ``noise/action`` [1, A]. ``outputs``: ``action``
    [1, A], ``value`` [1], ``surprise`` [1] nats, ``post_logits`` [1, S, C] (log-probabilities after unimix), then
    ``next/deter``, ``next/stoch``; the next ``state/action`` is ``action`` itself, so no node has to copy it.
    """

    def __init__(self, agent: DreamerAgent, spec: AgentSpec) -> None:
        super().__init__()
        self.agent = agent
        config = agent.config
        latent = (1, config.stoch, config.classes)
        action = (1, agent.action_dim)
        self.fields = tuple(spec.model_inputs())
        self.state = (
            StateTensor(name="deter", input="state/deter", output="next/deter", shape=(1, config.deter)),
            StateTensor(name="stoch", input="state/stoch", output="next/stoch", shape=latent),
            StateTensor(name="action", input="state/action", output="action", shape=action, shown=True),
        )
        self.noise = (
            NoiseTensor(name="noise/latent", shape=latent, distribution="gumbel"),
            NoiseTensor(name="noise/action", shape=action, distribution="gumbel" if agent.discrete else "normal"),
        )
        self.outputs = (
            TensorSpec(name="action", shape=action),
            TensorSpec(name="value", shape=(1,)),
            TensorSpec(name="surprise", shape=(1,)),
            TensorSpec(name="post_logits", shape=latent),
        )
        self.draws = (
            Draw(
                logits="post_logits",
                noise="noise/latent",
                drawn="next/stoch",
                before=("next/deter", "post_logits", "surprise"),
            ),
        )
        self.inputs = (
            *(
                TensorSpec(name=f"obs/{name}", shape=(1, *field.shape), dtype=field.dtype)
                for name, field in spec.model_inputs().items()
            ),
            TensorSpec(name="is_first", shape=(1,)),
            *(TensorSpec(name=state.input, shape=state.shape) for state in self.state),
            *(TensorSpec(name=noise.name, shape=noise.shape) for noise in self.noise),
        )

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
        return _flat(self.agent.tick, self.fields, tensors)

    def deployed(self) -> nn.Module:
        """The same graph on the agent's weights as they are now, laid out for engines: what is exported."""
        return _DeployedGraph(self)

    def example(self) -> tuple[Tensor, ...]:
        """Zeros of every input's shape and type, to trace with."""
        return tuple(torch.zeros(entry.shape, dtype=getattr(torch, entry.dtype)) for entry in self.inputs)

    @torch.inference_mode()
    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """One eager tick: arrays by input name -> arrays by output name, float32."""
        values = self(*(torch.from_numpy(feed[entry.name]) for entry in self.inputs))
        return {name: value.numpy() for name, value in zip(self.output_names, values, strict=True)}


class _DeployedGraph(nn.Module):
    def __init__(self, graph: TickGraph) -> None:
        super().__init__()
        self.fields = graph.fields
        self.tick = DeployedTick(graph.agent)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return _flat(self.tick, self.fields, tensors)


def _flat(tick: _Tick, fields: tuple[str, ...], tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    count = len(fields)
    obs = dict(zip(fields, tensors[:count], strict=True))
    is_first, deter, stoch, action, noise_latent, noise_action = tensors[count:]
    out = tick(obs, is_first, TickState(deter, stoch, action), noise_latent, noise_action)
    return (out.action, out.value, out.surprise, out.post_logits, out.state.deter, out.state.stoch)
