"""An imported graph at its task: the ticks that are recorded for parity, played or, without a task, drawn.

Shape letters: N ticks, A actions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robot_wm.errors import UserError
from robot_wm.learning.agent import Agent, Tick
from robot_wm.runtime.graph_tensors import StateTensor, TensorSpec
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.transform import ObservationTransform, to_command
from robot_wm.spec import AgentSpec, Source
from robot_wm.tasks import make_env
from robot_wm_export.leapp.check import draw_observations
from robot_wm_export.leapp.incoming import IncomingGraph
from robot_wm_export.rollout import Rollout, record_rollout, require_task

_EPISODE_TICKS = 64


class GraphAgent(Agent):
    """A tick graph as an agent that a task can be played with. It learns nothing and draws nothing."""

    kind = "leapp"
    noise, draws, stored, surprise_unit = (), (), (), None

    def __init__(self, engine: OnnxEngine, state: Sequence[StateTensor], outputs: Sequence[TensorSpec]) -> None:
        super().__init__()
        self._engine, self.state, self.outputs = engine, tuple(state), tuple(outputs)

    def tick(
        self, obs: Mapping[str, Tensor], is_first: Tensor, state: Mapping[str, Tensor], noise: Mapping[str, Tensor]
    ) -> Tick:
        """See ``Agent.tick``; of one environment, and actions are cut to [-1, 1] as the controller cuts them."""
        engine = self._engine
        for name, value in obs.items():
            np.copyto(engine.inputs[f"obs/{name}"], value.numpy())
        np.copyto(engine.inputs["is_first"], is_first.numpy())
        for name, value in state.items():
            engine.write_state(name, value.numpy())
        engine.infer()
        outputs = {name: torch.from_numpy(value.copy()) for name, value in engine.outputs.items()}
        outputs["action"] = outputs["action"].clamp(-1.0, 1.0)
        return Tick(
            outputs=outputs,
            state={entry.name: torch.from_numpy(engine.read_state(entry.name)) for entry in self.state},
            stored={},
        )

    def acting(self) -> Iterator[nn.Parameter]:
        """None: the graph holds them."""
        return iter(())


def record(
    graph: IncomingGraph, spec: AgentSpec, *, task: str | None, options: Mapping[str, Any], ticks: int, seed: int
) -> Recording:
    """N ticks of the graph on ONNX Runtime, at ``task`` in closed loop, or over drawn observations if that is None.

    Raises UserError for a task that is another than the spec's, and for a command that is not finite.
    """
    engine = OnnxEngine(graph.model.SerializeToString(), graph.state)
    engine.activate()
    try:
        if task is None:
            rollout = _drawn(spec, ticks, seed)
        else:
            env = make_env(task, seed=seed, **options)
            try:
                require_task(env, spec, origin=f"task {task}")
                rollout = record_rollout(GraphAgent(engine, graph.state, graph.outputs), env, ticks, seed)
            finally:
                env.close()
        return _recorded(engine, rollout, graph)
    finally:
        engine.deactivate()


def _drawn(spec: AgentSpec, ticks: int, seed: int) -> Rollout:
    transform = ObservationTransform(spec)
    rest = to_command(spec.action, np.zeros((1, spec.action_dim), dtype=np.float32))
    frames = draw_observations(spec, ticks, seed=seed)
    observations: dict[str, NDArray[Any]] = {
        name: np.empty((ticks, 1, *field.shape), dtype=field.dtype) for name, field in spec.model_inputs().items()
    }
    is_first = (np.arange(ticks) % _EPISODE_TICKS == 0).astype(np.float32)[:, None]
    for tick in range(ticks):
        frame = {name: values[tick] for name, values in frames.items()}
        frame |= {field.name: rest for field in spec.observations if field.source is Source.LAST_ACTION}
        for name, value in transform.push(frame, bool(is_first[tick, 0])).items():
            observations[name][tick] = value
    return Rollout(observations=observations, is_first=is_first, noise={})


def _recorded(engine: OnnxEngine, rollout: Rollout, graph: IncomingGraph) -> Recording:
    ticks = rollout.ticks
    inputs: dict[str, NDArray[Any]] = {f"obs/{name}": values for name, values in rollout.observations.items()}
    inputs["is_first"] = rollout.is_first
    inputs |= {state.input: np.empty((ticks, *state.shape), dtype=np.float32) for state in graph.state}
    outputs = {entry.name: np.empty((ticks, *entry.shape), dtype=np.float32) for entry in graph.outputs}
    outputs |= {state.output: np.empty((ticks, *state.shape), dtype=np.float32) for state in graph.state}
    engine.clear_state()
    for tick in range(ticks):
        for name, buffer in engine.inputs.items():
            np.copyto(buffer, inputs[name][tick])
        for state in graph.state:
            inputs[state.input][tick] = engine.read_state(state.name)
        engine.infer()
        for entry in graph.outputs:
            outputs[entry.name][tick] = engine.outputs[entry.name]
        for state in graph.state:
            outputs[state.output][tick] = engine.read_state(state.name)
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            tick = int(np.flatnonzero(~np.isfinite(values.reshape(ticks, -1)).all(-1))[0])
            raise UserError(f"the policy's {name} is not finite at recorded tick {tick}")
    return Recording(inputs=inputs, outputs=outputs)
