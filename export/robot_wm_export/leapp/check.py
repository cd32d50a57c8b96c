"""Does leapp's own runtime compute from a written package what the bundle's engine computes? Tick by tick.

Not bit by bit: leapp lets ONNX Runtime fuse less than our engine does, and what is fused is rounded otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.noise import NoiseSource
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.transform import CommandMap, ObservationTransform
from robot_wm.spec import AgentSpec, Source
from robot_wm_export.leapp.outgoing import COMMAND, NODE, input_name

TICKS = 64
_SEED = 16


@dataclass(frozen=True)
class LeappCheck:
    """Commands of leapp's runtime beside those of the bundle's engine, both free running over the same ticks."""

    leapp_version: str
    ticks: int
    draws: int  # categorical draws made by either
    differing_draws: int  # that fell another way
    largest_difference: float  # of a command, in its unit


def check_with_leapp(description: Path, bundle: Bundle, *, ticks: int = TICKS) -> LeappCheck | None:
    """Compare both over drawn observations, greedy and with noise; None where leapp is not installed.

    Noise alone would hide errors: it outweighs much of what an agent sees.

    Raises UserError where leapp refuses the package, or where a command is off by more than the bundle's tolerance.
    """
    if find_spec("leapp") is None:
        return None
    greedy, sampled = (compare_with_leapp(description, bundle, ticks=ticks, noise_seed=seed) for seed in (None, _SEED))
    found = LeappCheck(
        leapp_version=greedy.leapp_version,
        ticks=greedy.ticks + sampled.ticks,
        draws=greedy.draws + sampled.draws,
        differing_draws=greedy.differing_draws + sampled.differing_draws,
        largest_difference=max(greedy.largest_difference, sampled.largest_difference),
    )
    spec = bundle.spec
    reach = 1.0 if spec.action.is_discrete else max(map(abs, spec.action.scale)) * spec.action.clip
    if not found.largest_difference <= bundle.manifest.parity.thresholds.tolerance * max(1.0, reach):
        raise UserError(
            f"{description}: leapp {found.leapp_version} commands what is off by {found.largest_difference:.3g}"
            f" {spec.action.unit} from the bundle's"
        )
    return found


def compare_with_leapp(description: Path, bundle: Bundle, *, ticks: int, noise_seed: int | None = _SEED) -> LeappCheck:
    """Run both side by side. With ``noise_seed`` both get the same noise, None: they are greedy."""
    import torch
    from leapp import InferenceManager

    manifest, spec = bundle.manifest, bundle.spec
    with quiet():
        try:
            runtime = InferenceManager(str(description))
        except Exception as error:  # leapp raises Exception, and torch what it likes
            raise UserError(f"{description}: leapp refuses it: {str(error)[:300]}") from None
        engine = OnnxEngine(bundle.read(), manifest.state)
        engine.activate()
        try:
            transform = ObservationTransform(
                spec, out={f.name: engine.inputs[f"obs/{f.name}"] for f in spec.observations}
            )
            noise = None if noise_seed is None else NoiseSource(manifest.noise, engine.inputs, noise_seed)
            commands, command = CommandMap(spec.action), np.zeros((1, spec.action_dim), dtype=np.float32)
            commands.command_into(np.zeros_like(command), command)
            drawn = draw_observations(spec, ticks, seed=_SEED)
            draws = differing = 0
            largest = 0.0
            for tick in range(ticks):
                frame = {name: values[tick] for name, values in drawn.items()}
                given = {f"{NODE}/{input_name(name)}": torch.from_numpy(value) for name, value in frame.items()}
                frame |= {f.name: command for f in spec.observations if f.source is Source.LAST_ACTION}
                transform.push(frame, tick == 0)
                engine.inputs["is_first"][0] = float(tick == 0)
                if noise is not None:
                    noise.draw()
                for entry in manifest.noise:
                    name = f"{NODE}/{entry.name.replace('/', '_')}"
                    given[name] = torch.from_numpy(engine.inputs[entry.name].copy())
                engine.infer()
                np.clip(engine.outputs["action"], -1, 1, out=command)
                commands.command_into(command, command)
                made = runtime.run_policy(given)[f"{NODE}/{COMMAND}"].numpy()
                largest = max(largest, float(np.abs(made - command).max()))
                for one, other in _drawn(runtime, engine, bundle, made):
                    otherwise = (one != other).any(-1)
                    draws, differing = draws + otherwise.size, differing + int(otherwise.sum())
        finally:
            engine.deactivate()
    return LeappCheck(version("leapp"), ticks, draws, differing, largest)


def _drawn(
    runtime: Any, engine: OnnxEngine, bundle: Bundle, command: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """What was drawn in this tick by leapp's runtime and by the engine, [..., C] one-hot each."""
    names = {draw.drawn for draw in bundle.manifest.draws}
    for state in bundle.manifest.state:
        if state.output in names:
            yield runtime.value_dict[NODE][f"state_{state.name}"].numpy(), engine.read_state(state.name)
    if "action" in names:
        yield command, engine.outputs["action"]


def draw_observations(spec: AgentSpec, ticks: int, *, seed: int) -> dict[str, NDArray[Any]]:
    """Raw frames [ticks, 1, *field shape] of every field but the last action, as large as training scaled them."""
    rng = np.random.default_rng(seed)
    drawn: dict[str, NDArray[Any]] = {}
    for field in spec.observations:
        if field.source is Source.LAST_ACTION:
            continue
        shape = (ticks, 1, *field.shape)
        if field.is_image:
            drawn[field.name] = rng.integers(0, 256, shape, dtype=np.uint8)
            continue
        scale, offset = np.asarray(field.scale), np.asarray(field.offset)
        spread = np.divide(1.0, scale, out=np.ones_like(scale), where=scale != 0)
        drawn[field.name] = (offset + spread * rng.standard_normal(shape)).astype(np.float32)
    return drawn


@contextmanager
def quiet() -> Iterator[None]:
    """Without leapp's remarks on the machine; its errors are exceptions."""
    loggers = [logging.getLogger(name) for name in ("leapp", "LEAPP")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
