"""Does an exported graph compute what torch computes? Step by step, and free running.

Shape letters: N ticks, S stoch groups, C classes, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.engine import Engine
from robot_wm.runtime.manifest import ParityResult, ParityThresholds, SurpriseLevels
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.parity import compare, replay
from robot_wm.runtime.recording import Recording
from robot_wm_export.rollout import Rollout
from robot_wm_export.tick_graph import TickGraph

Arrays = dict[str, NDArray[Any]]

# How far a nearly tied discrete choice is pushed apart, as a multiple of the gap that counts as a tie.
_DECISIVE = 10.0

# Error of a float32 sum after two different softmaxes, relative to the sum of its terms' magnitudes: 16 half-ulps.
# Seen between torch and ONNX Runtime: up to 6e-7.
_ROUNDING = 16 * 2.0**-24


def run_torch(graph: TickGraph, rollout: Rollout, thresholds: ParityThresholds) -> Recording:
    """Run the agent eagerly over a rollout, its own state fed back: every input, state included, and every output.

    A discrete action shows no gap by which a tie could be told, so the recording has none: where the two best
    choices are closer than the thresholds' gap, the noise of the chosen one is raised, which changes no choice.
    """
    inputs: Arrays = {f"obs/{name}": values for name, values in rollout.observations.items()}
    inputs |= {"is_first": rollout.is_first, "noise/latent": rollout.noise_latent}
    inputs["noise/action"] = rollout.noise_action.copy()
    ticks = rollout.ticks
    inputs |= {state.input: np.empty((ticks, *state.shape), dtype=np.float32) for state in graph.state}
    outputs: Arrays = {name: np.empty((ticks, *shape), dtype=np.float32) for name, shape in graph.output_shapes.items()}
    current = {state.input: state.initial_array() for state in graph.state}
    for tick in range(ticks):
        for name, value in current.items():
            inputs[name][tick] = value
        made = graph.run({name: values[tick] for name, values in inputs.items()})
        for name, value in made.items():
            outputs[name][tick] = value
        if graph.agent.discrete:
            _separate_choices(graph, made, inputs["noise/action"][tick], thresholds.min_logit_gap)
        current = {state.input: made[state.output] for state in graph.state}
    return Recording(inputs={entry.name: inputs[entry.name] for entry in graph.inputs}, outputs=outputs)


@torch.inference_mode()
def with_resolution(thresholds: ParityThresholds, graph: TickGraph, torch_run: Recording) -> ParityThresholds:
    """``thresholds`` with the critic's float32 resolution over the recorded ticks, if it is coarser than the tolerance.

    The value is a sum over bins of up to 4.85e8; before the critic has learned that most of them are out of the
    question, huge terms cancel, and what is left has the rounding error of the terms. A trained critic has none of it.
    """
    probs = torch.softmax(graph.agent.critic(_features(torch_run.outputs)), -1)  # [N, bins]
    terms = (probs * graph.agent.critic.twohot.bins.abs()).sum(-1)  # [N]
    resolution = float(terms.max()) * _ROUNDING
    if not resolution > thresholds.tolerance:  # also where it is not a number: the comparison will say so
        return thresholds
    return thresholds.model_copy(update={"resolution": {"value": resolution}})


def check_graph(
    model: bytes, graph: TickGraph, torch_run: Recording, thresholds: ParityThresholds, *, origin: str
) -> tuple[ParityResult, Arrays]:
    """Compare an ONNX file with torch over ``torch_run``; returns the result and ONNX Runtime's own outputs.

    Raises UserError naming ``origin``, the tensor, the tick and both values where a difference exceeds
    ``tolerance * max(1, |torch's value|)`` with torch's state fed in at every tick. Free running, the engine keeps
    its own state: a class drawn differently is not an error, it is counted, and what follows from it reported.
    """
    engine = OnnxEngine(model, graph.state)
    engine.activate()
    try:
        outputs: Arrays = dict(replay(engine, torch_run.inputs, graph.state, graph.outputs))
        found = compare(torch_run.inputs, torch_run.outputs, outputs, thresholds)
        if found.mismatch is not None:
            raise UserError(
                f"{origin}: ONNX Runtime does not compute what torch does: {found.mismatch}"
                f" (tolerance {thresholds.tolerance:g} x max(1, |expected|))"
            )
        drawn, actions = _free_run(engine, graph, torch_run.inputs)
    finally:
        engine.deactivate()
    # A group's draw flipped where the one-hot differs: [N, 1, S].
    flips = (drawn != torch_run.outputs["next/stoch"]).any(-1)
    flipped_ticks = np.flatnonzero(flips.reshape(len(flips), -1).any(-1))
    result = ParityResult(
        ticks=found.ticks,
        near_tie_ticks=found.near_tie_ticks,
        largest_error=found.largest_error,
        free_running_flips=int(flips.sum()),
        free_running_draws=flips.size,
        first_flip_tick=int(flipped_ticks[0]) if flipped_ticks.size else None,
        free_running_action_divergence=float(np.abs(actions - torch_run.outputs["action"]).max()),
    )
    return result, outputs


def surprise_levels(outputs: Mapping[str, NDArray[Any]]) -> SurpriseLevels:
    """What is normal for this agent: median, 99th percentile and largest of the recorded surprise, nats."""
    values = outputs["surprise"]
    return SurpriseLevels(
        median=float(np.median(values)), p99=float(np.percentile(values, 99)), largest=float(values.max())
    )


def _free_run(engine: Engine, graph: TickGraph, inputs: Mapping[str, NDArray[Any]]) -> tuple[NDArray, NDArray]:
    """One-hot draws [N, 1, S, C] and actions [N, 1, A] of an engine that keeps its own state."""
    engine.clear_state()
    ticks = len(inputs["is_first"])
    drawn = np.empty((ticks, *graph.output_shapes["next/stoch"]), dtype=np.float32)
    actions = np.empty((ticks, *graph.output_shapes["action"]), dtype=np.float32)
    for tick in range(ticks):
        for name, buffer in engine.inputs.items():
            np.copyto(buffer, inputs[name][tick])
        engine.infer()
        actions[tick] = engine.outputs["action"]
        drawn[tick] = engine.read_state("stoch")
    return drawn, actions


@torch.inference_mode()
def _separate_choices(graph: TickGraph, made: Mapping[str, NDArray], noise: NDArray, min_gap: float) -> None:
    perturbed = graph.agent.actor(_features(made)).first.numpy() + noise  # [1, A]
    best, second = np.argsort(-perturbed[0], kind="stable")[:2]
    if perturbed[0, best] - perturbed[0, second] < min_gap:
        noise[0, best] += _DECISIVE * min_gap


def _features(outputs: Mapping[str, NDArray]) -> torch.Tensor:
    """What the heads saw: [N, D + S*C]; outputs of one tick or of N."""
    deter, stoch = torch.from_numpy(outputs["next/deter"]), torch.from_numpy(outputs["next/stoch"])
    return torch.cat([deter.flatten(1), stoch.flatten(1)], -1)
