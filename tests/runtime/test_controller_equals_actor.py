"""On the robot the agent does what it did in training: the exported controller against the torch actor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.muzero.agent import MuZeroAgent
from robot_wm.muzero.config import MuZeroConfig
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.manifest import POLICY_OP17
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.runtime.start import start_controller
from robot_wm.spec import ActionSpec
from robot_wm.training.actor import Actor
from robot_wm_export.export import export_agent
from robot_wm_export.rollout import Rollout

PERIOD_S = 0.02
TICKS = 256
FIELDS = {"joint_position": 2, "gyro": 3}


def random_rollout(agent, spec):
    rng = np.random.default_rng(0)
    return Rollout(
        observations={
            name: rng.normal(size=(TICKS, 1, *entry.shape)).astype(np.float32)
            for name, entry in spec.model_inputs().items()
        },
        is_first=(np.arange(TICKS) % 100 == 0).astype(np.float32)[:, None],
        noise={entry.name: np.zeros((TICKS, *entry.shape), np.float32) for entry in agent.noise},
    )


def dreamer(*given, generator):
    config = DreamerConfig(size="nano", deter=32, hidden=8, stoch=4, classes=3, depth=2, units=16, blocks=4)
    agent = DreamerAgent(config, *given, generator=generator)
    with torch.no_grad():  # a new agent hardly cares what it sees: nothing wrong in that would show
        agent.actor.out.weight.normal_(std=0.5, generator=generator)
        agent.rssm.posterior_logits.weight.normal_(std=1.0, generator=generator)
    return agent


def muzero(*given, generator):
    agent = MuZeroAgent(MuZeroConfig(size="nano", latent=32, units=16), *given, generator=generator)
    with torch.no_grad():
        agent.model.actor.out.weight.normal_(std=0.5, generator=generator)
        agent.model.representation.out.weight.normal_(std=1.0, generator=generator)
    return agent


@pytest.fixture(scope="module", params=[dreamer, muzero])
def pair(request, make_spec, tmp_path_factory):
    """The spec's parts that can go wrong silently: history, offsets, scales, clips, last action, joint-wise gains."""
    action = ActionSpec(
        mode="position", joints=("shoulder", "elbow"), unit="rad", scale=(0.25, -0.5), offset=(0.1, 0.8), clip=4.0
    )
    spec = make_spec(action=action)
    generator = torch.Generator().manual_seed(0)
    agent = request.param(spec.model_inputs(), spec.action_dim, False, generator=generator).eval()
    out = tmp_path_factory.mktemp("equal") / "agent.rwm"
    export_agent(agent, spec, random_rollout(agent, spec), {}, out, profiles=(POLICY_OP17,))
    return agent, spec, out


def test_same_observations_same_commands(pair):
    agent, spec, out = pair
    actor = Actor(agent, spec, envs=1, seed=0, greedy=True)
    rng = np.random.default_rng(1)
    last = np.array(spec.action.offset, dtype=np.float32)
    seen = []
    with (
        Bundle.open(out) as bundle,
        start_controller(bundle, config=SafetyConfig(soft_start_s=0)) as controller,
    ):
        controller.enable()
        for tick in range(60):
            is_first = tick % 10 == 0  # two implementations drift apart, free running
            if is_first:
                controller.start_episode()
                last = np.array(spec.action.offset, dtype=np.float32)
            raw = {name: rng.normal(size=size).astype(np.float32) for name, size in FIELDS.items()}
            acted = actor.act({n: v[None] for n, v in raw.items()} | {"last_action": last[None]}, np.array([is_first]))
            command = controller.step(raw, tick * PERIOD_S)
            np.testing.assert_allclose(command.command, acted.command[0], atol=1e-4)
            assert command.value == pytest.approx(acted.value[0], abs=1e-4)
            assert command.surprise == pytest.approx(acted.surprise[0], abs=1e-4)
            last = acted.command[0]
            seen.append([*command.command, command.surprise])
    assert np.std(seen, axis=0).min() > 0.01  # it did act upon what it saw
