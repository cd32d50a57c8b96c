"""The agent of the benchmarks: fresh weights of any size, that of DESIGN's table, and observations for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import SIZES, DreamerConfig
from robot_wm.errors import UserError
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, JointLimits, ObservationField
from robot_wm_export.rollout import Rollout

OBSERVATIONS = ("proprio", "image")
FRAMES = 256  # different observations, one after the other and from the start again
_NUMBERS, _ACTIONS, _PIXELS = 48, 12, 64


def fresh_agent(size: str, obs: str) -> tuple[DreamerAgent, AgentSpec]:
    """An untrained agent, the same at each call, and its contract; raises UserError for a size that is unknown."""
    if size not in SIZES:
        raise UserError(f"unknown size {size!r}; known sizes: {', '.join(SIZES)}")
    if obs not in OBSERVATIONS:
        raise UserError(f"unknown observation {obs!r}; known: {', '.join(OBSERVATIONS)}")
    spec = bench_spec(obs)
    config = DreamerConfig.model_validate({"size": size})
    generator = torch.Generator().manual_seed(0)
    return DreamerAgent(config, spec.model_inputs(), spec.action_dim, False, generator=generator).eval(), spec


def random_rollout(agent: DreamerAgent, spec: AgentSpec) -> Rollout:
    """``FRAMES`` ticks of random observations in four episodes, without noise: the agent acts greedily."""
    rng = np.random.default_rng(0)

    def draw(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        shape = (FRAMES, 1, *shape)
        if dtype == "uint8":
            return rng.integers(0, 256, shape, dtype=np.uint8)
        return rng.standard_normal(shape).astype(np.float32)

    is_first = np.zeros((FRAMES, 1), dtype=np.float32)
    is_first[:: FRAMES // 4] = 1.0
    return Rollout(
        observations={name: draw(field.shape, field.dtype) for name, field in spec.model_inputs().items()},
        is_first=is_first,
        noise={entry.name: np.zeros((FRAMES, *entry.shape), dtype=np.float32) for entry in agent.noise},
    )


def bench_spec(obs: str) -> AgentSpec:
    """The contract of an agent with 12 continuous actions that sees 48 numbers (``proprio``) or 64 x 64 x 3 pixels."""
    field = (
        ObservationField(name="image", shape=(_PIXELS, _PIXELS, 3), dtype="uint8", unit="1")
        if obs == "image"
        else ObservationField(name="proprio", shape=(_NUMBERS,), unit="1", clip=100.0)
    )
    limits = JointLimits(position=(-2.0, 2.0), velocity=20.0, effort=30.0, rate=50.0)
    return AgentSpec(
        task="bench_tick",
        robot="bench",
        control_rate_hz=50.0,
        physics_rate_hz=500.0,
        observations=(field,),
        action=ActionSpec(
            mode="position",
            joints=tuple(f"joint_{index}" for index in range(_ACTIONS)),
            unit="rad",
            scale=(0.25,),
            clip=4.0,
            limits=(limits,) * _ACTIONS,
        ),
        firmware=FirmwareProfile(name="bench"),
    )
