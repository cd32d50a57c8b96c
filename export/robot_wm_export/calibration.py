"""Real ticks to scale 8-bit activations by: recorded episodes of the task, seen through the float32 graph.

Shape letters: N ticks, A action dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.learning.agent import Agent
from robot_wm.replay.location import Named
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.transform import ObservationTransform, to_policy
from robot_wm.spec import AgentSpec
from robot_wm_export.rollout import Rollout, draw_noise
from robot_wm_export.tick_graph import TickGraph

TICKS = 2048


@dataclass(frozen=True)
class Calibration:
    """N recorded ticks in their order, and where they are from."""

    ticks: Rollout
    executed: NDArray[np.float32]  # [N, 1, A] policy units: the action that was executed before the tick
    source: str


def from_store(path: Named, agent: Agent, spec: AgentSpec, *, version: int | None = None, seed: int = 0) -> Calibration:
    """The newest episodes of a replay store, up to ``TICKS`` ticks.

    ``version``: by default the store's newest. Raises UserError where there is no store, no episode, or another spec.
    """
    from robot_wm.replay.store import EpisodeStore

    store = EpisodeStore.open(path, spec, version=version)
    episodes, found = [], 0
    for number in store.index.number[::-1]:  # the newest first, so that the oldest is the one to be cut
        if found < TICKS:
            episodes.append(store.episode(int(number)))
            found += episodes[-1].length
    ticks = min(TICKS, found)
    if not ticks:
        raise UserError(f"{path}: holds no episode to calibrate by")
    noise = draw_noise(np.random.default_rng(seed), agent.noise, ticks)
    observations: dict[str, NDArray[Any]] = {
        name: np.empty((ticks, 1, *field.shape), dtype=field.dtype) for name, field in spec.model_inputs().items()
    }
    is_first = np.zeros((ticks, 1), dtype=np.float32)
    executed = np.zeros((ticks, 1, spec.action_dim), dtype=np.float32)
    transform = ObservationTransform(spec)
    tick = 0
    for episode in episodes:
        actions = to_policy(spec.action, episode.action)  # [L, A]
        for step in range(min(episode.length, ticks - tick)):
            seen = {name: values[step] for name, values in episode.obs.items()}
            for name, value in transform.push(seen, step == 0).items():
                observations[name][tick] = value
            is_first[tick] = step == 0
            if step:
                executed[tick] = actions[step - 1]
            tick += 1
    return Calibration(
        ticks=Rollout(observations, is_first, noise),
        executed=executed,
        source=f"{ticks} ticks of {len(episodes)} episodes, replay version {store.version}",
    )


def calibration_inputs(float32: onnx.ModelProto, graph: TickGraph, calibration: Calibration) -> dict[str, NDArray[Any]]:
    """Every input of the tick graph over the recorded ticks, [N, *tensor shape]: the state is the graph's own.

    Of the state only the executed action is the recorded one, as on the robot.
    """
    ticks = calibration.ticks
    inputs: dict[str, NDArray[Any]] = {f"obs/{name}": values for name, values in ticks.observations.items()}
    inputs |= {"is_first": ticks.is_first} | dict(ticks.noise)
    inputs |= {state.input: np.empty((ticks.ticks, *state.shape), dtype=np.float32) for state in graph.state}
    engine = OnnxEngine(float32.SerializeToString(), graph.state)
    engine.activate()
    try:
        for tick in range(ticks.ticks):
            engine.write_state("action", calibration.executed[tick])
            for state in graph.state:
                inputs[state.input][tick] = engine.read_state(state.name)
            for name, buffer in engine.inputs.items():
                np.copyto(buffer, inputs[name][tick])
            engine.infer()
    finally:
        engine.deactivate()
    return inputs
