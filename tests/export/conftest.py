"""Tiny agents with weights that matter, and rollouts for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.learning.agent import Agent
from robot_wm.muzero.agent import MuZeroAgent
from robot_wm.muzero.config import MuZeroConfig
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, ObservationField
from robot_wm_export.export import ExportReport, export_agent
from robot_wm_export.onnx_export import export_op17
from robot_wm_export.rollout import Rollout, draw_noise
from robot_wm_export.tick_graph import TickGraph

# Of Dreamer, then of MuZero.
KINDS = ("proprio", "image", "both", "discrete", "muzero", "muzero_both", "muzero_discrete")
TICKS = 256


@dataclass(frozen=True)
class Case:
    """An agent, its spec, a rollout and the graph that is exported."""

    kind: str
    agent: DreamerAgent | MuZeroAgent
    spec: AgentSpec
    rollout: Rollout
    graph: TickGraph


@pytest.fixture(scope="session")
def make_case() -> Callable[[str], Case]:
    """A case of one of KINDS, built anew at every call: it may be changed."""
    return build


@pytest.fixture(scope="session", params=KINDS)
def case(request: pytest.FixtureRequest) -> Case:
    """A case of every kind; not to be changed."""
    return shared(request.param)


@pytest.fixture(scope="session")
def op17(case: Case) -> onnx.ModelProto:
    """The opset-17 profile of the case; not to be changed."""
    return shared_op17(case.kind)


@pytest.fixture(scope="session")
def proprio() -> Case:
    """The proprio case; not to be changed."""
    return shared("proprio")


@pytest.fixture(scope="session")
def exported(proprio: Case, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """The proprio case as a bundle with both graphs; not to be changed."""
    out = tmp_path_factory.mktemp("exported") / "agent.rwm"
    return export_agent(proprio.agent, proprio.spec, proprio.rollout, {"git_commit": "abc", "steps": 7}, out)


# Kept by kind: a process that is given one file after another comes back to a kind that it has left.
@cache
def shared(kind: str) -> Case:
    return build(kind)


@cache
def shared_op17(kind: str) -> onnx.ModelProto:
    return export_op17(shared(kind).graph)


def build(kind: str) -> Case:
    spec = make_spec(kind)
    agent = new_agent(kind, spec)
    heads = agent.model if isinstance(agent, MuZeroAgent) else agent
    # A new agent's heads are nearly or exactly zero, so that nothing wrong in them would show.
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        heads.actor.out.weight.normal_(std=0.5, generator=generator)
        heads.critic.out.weight.normal_(std=0.2, generator=generator)
        bins = agent.config.bins
        far = (torch.arange(bins) - bins // 2).abs() / (bins // 2)
        heads.critic.out.bias.copy_(-40.0 * far)  # values of the order of one, as after training
        for name, parameter in agent.named_parameters():
            if name.endswith(("bias", "norm_scale")) and "critic.out" not in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return Case(kind, agent, spec, random_rollout(agent, spec), TickGraph(agent, spec))


def new_agent(kind: str, spec: AgentSpec) -> DreamerAgent | MuZeroAgent:
    given = (spec.model_inputs(), spec.action_dim, spec.action.is_discrete)
    generator = torch.Generator().manual_seed(1)
    if kind.startswith("muzero"):
        small = MuZeroConfig(size="nano", latent=32, simplex=4, units=16, depth=2, layers=3, projection_units=8)
        return MuZeroAgent(small, *given, generator=generator).eval()
    config = DreamerConfig(size="nano", deter=32, hidden=8, stoch=4, classes=3, depth=2, units=16, blocks=4)
    return DreamerAgent(config, *given, generator=generator).eval()


def make_spec(kind: str) -> AgentSpec:
    vectors = (
        ObservationField(name="position", shape=(3,), unit="rad"),
        ObservationField(name="velocity", shape=(2,), unit="rad/s", scale=(0.1,)),
    )
    images = (ObservationField(name="camera", shape=(48, 48, 3), dtype="uint8", unit="1"),)
    fields = {"proprio": vectors, "image": images, "both": (*images, *vectors), "discrete": vectors}
    inputs = kind.removeprefix("muzero").removeprefix("_") or "proprio"
    action: dict[str, Any] = {"mode": "position", "unit": "rad", "joints": ("a", "b", "c")}
    if inputs == "discrete":
        action |= {"mode": "discrete", "unit": "1"}
    return AgentSpec(
        task="tiny",
        robot="tiny",
        control_rate_hz=50.0,
        physics_rate_hz=500.0,
        history_length=2,
        observations=fields[inputs],
        action=ActionSpec(**action),
        firmware=FirmwareProfile(name="tiny"),
    )


def random_rollout(agent: Agent, spec: AgentSpec, ticks: int = TICKS) -> Rollout:
    rng = np.random.default_rng(3)
    observations = {
        name: rng.integers(0, 256, (ticks, 1, *field.shape), dtype=np.uint8)
        if field.dtype == "uint8"
        else rng.normal(size=(ticks, 1, *field.shape), scale=2).astype(np.float32)
        for name, field in spec.model_inputs().items()
    }
    noise = draw_noise(rng, agent.noise, ticks)
    rollout = Rollout(
        observations=observations,
        is_first=(np.arange(ticks) % 50 == 0).astype(np.float32)[:, None],
        noise=noise,
    )
    for values in noise.values():
        values[::3] = 0.0
    return rollout


@pytest.fixture(scope="session")
def largest_difference() -> Callable[[TickGraph, Rollout], dict[str, float]]:
    """Of every output over a rollout (with two first ticks): deployed against the agent's, its state fed to both."""
    return differences


def differences(graph: TickGraph, rollout: Rollout, ticks: int = 60) -> dict[str, float]:
    deployed, found = graph.deployed(), Counter()
    state = {entry.input: torch.from_numpy(entry.initial_array()) for entry in graph.state}
    fields = {f"obs/{name}": values for name, values in rollout.observations.items()}
    fields |= {"is_first": rollout.is_first} | rollout.noise
    with torch.inference_mode():
        for tick in range(ticks):
            feed = {name: torch.from_numpy(values[tick]) for name, values in fields.items()} | state
            inputs = [feed[entry.name] for entry in graph.inputs]
            expected, actual = graph(*inputs), deployed(*inputs)
            for name, one, two in zip(graph.output_names, expected, actual, strict=True):
                assert one.shape == two.shape, name
                found[name] = max(found[name], float((one - two).abs().max()))
            made = dict(zip(graph.output_names, expected, strict=True))
            state = {entry.input: made[entry.output] for entry in graph.state}
    return found


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A bundle's name that is free."""
    return tmp_path / "agent.rwm"
