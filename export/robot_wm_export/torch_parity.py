"""Does an exported graph compute what torch computes? Step by step, and free running.

Shape letters: N ticks, S stoch groups, C classes, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.parity import Comparison, FreeRun, compare, free_run_over, objection, replay
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.parity_section import ParityResult, ParityThresholds, SurpriseLevels
from robot_wm_export.rollout import Rollout
from robot_wm_export.tick_graph import TickGraph

Arrays = dict[str, NDArray[Any]]

# How far a nearly tied discrete choice is pushed apart, as a multiple of the gap that counts as a tie.
_DECISIVE = 10.0

# Error of a sum after two different softmaxes, relative to the sum of its terms' magnitudes, in half-ulps.
# Seen in float32 between torch and ONNX Runtime: up to 10.
HALF_ULPS = 16
_HALF_ULP = 2.0**-24  # of float32, relative


def run_torch(
    graph: TickGraph, rollout: Rollout, thresholds: ParityThresholds, *, choice_gap: float | None = None
) -> Recording:
    """Run the agent eagerly over a rollout, its own state fed back: every input, state included, and every output.

    A discrete action shows no gap by which a tie could be told, so the recording has none: where the two best
    choices are closer than ``choice_gap`` (default: the thresholds'), the noise of the chosen one is raised, which
    changes no choice.
    """
    choice_gap = thresholds.min_logit_gap if choice_gap is None else choice_gap
    inputs: Arrays = {f"obs/{name}": values for name, values in rollout.observations.items()}
    inputs |= {"is_first": rollout.is_first} | {name: values.copy() for name, values in rollout.noise.items()}
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
        if graph.is_discrete:
            _separate_choices(graph, made, inputs["noise/action"][tick], choice_gap)
        current = {state.input: made[state.output] for state in graph.state}
    return Recording(inputs={entry.name: inputs[entry.name] for entry in graph.inputs}, outputs=outputs)


def with_resolution(
    thresholds: ParityThresholds, graph: TickGraph, recorded: Recording, *, half_ulp: float = _HALF_ULP
) -> ParityThresholds:
    """``thresholds`` with the critic's resolution over the recorded ticks, if it is coarser than the tolerance.

    Where a value is a small sum of huge terms, it has the rounding error of the terms. A trained critic has none of it.
    ``half_ulp`` is the relative one of the precision that computes the logits.
    """
    resolution = graph.exporter.value_magnitude(graph.agent, recorded.outputs) * HALF_ULPS * half_ulp
    if not resolution > thresholds.tolerance:  # also where it is not a number: the comparison will say so
        return thresholds
    return thresholds.model_copy(update={"resolution": {"value": resolution}})


def check_graph(
    model: bytes, graph: TickGraph, torch_run: Recording, thresholds: ParityThresholds, *, origin: str
) -> tuple[ParityResult, Arrays]:
    """Compare a float32 ONNX file with torch over ``torch_run``; returns the result and ONNX Runtime's own outputs.

    Raises UserError naming ``origin``, the tensor, the tick and both values where a difference exceeds
    ``tolerance * max(1, |torch's value|)`` with torch's state fed in at every tick. Free running, the engine keeps
    its own state: a class drawn differently is not an error, it is counted, and what follows from it reported.
    """
    outputs, free = run_onnx(model, graph, torch_run)
    found = compare(torch_run.inputs, torch_run.outputs, outputs, graph.draws, thresholds)
    if reason := objection(found, thresholds):
        raise UserError(f"{origin}: ONNX Runtime does not compute what torch does: {reason}")
    return parity_result(found, free), outputs


def run_onnx(model: bytes, graph: TickGraph, recorded: Recording) -> tuple[Arrays, FreeRun]:
    """An ONNX file on ONNX Runtime over recorded ticks: its outputs step by step, and how it runs freely."""
    engine = OnnxEngine(model, graph.state)
    engine.activate()
    try:
        outputs: Arrays = dict(replay(engine, recorded.inputs, graph.state, graph.outputs))
        return outputs, free_run_over(engine, recorded, graph.state, graph.draws)
    finally:
        engine.deactivate()


def parity_result(found: Comparison, free: FreeRun) -> ParityResult:
    """Both figures of one graph as the manifest keeps them."""
    return ParityResult(
        ticks=found.ticks,
        near_tie_ticks=found.near_tie_ticks,
        differing_draws=found.differing_draws,
        largest_error=found.largest_error,
        free_running_flips=free.flips,
        free_running_draws=free.draws,
        first_flip_tick=free.first_flip_tick,
        free_running_action_divergence=free.action_divergence,
    )


def surprise_levels(outputs: Mapping[str, NDArray[Any]]) -> SurpriseLevels:
    """What is normal for this agent: median, 99th percentile and largest of the recorded surprise."""
    values = outputs["surprise"]
    return SurpriseLevels(
        median=float(np.median(values)), p99=float(np.percentile(values, 99)), largest=float(values.max())
    )


def _separate_choices(graph: TickGraph, made: Mapping[str, NDArray], noise: NDArray, min_gap: float) -> None:
    perturbed = graph.exporter.choice_scores(graph.agent, made) + noise  # [1, A]
    best, second = np.argsort(-perturbed[0], kind="stable")[:2]
    if perturbed[0, best] - perturbed[0, second] < min_gap:
        noise[0, best] += _DECISIVE * min_gap
