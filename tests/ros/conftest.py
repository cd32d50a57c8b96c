"""Real bundles, and real nodes in processes of their own that no test leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: the ros-wheels extra, or a sourced installation")

import torch
from node_process import NodeProcess

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.tasks import agent_spec, make_env
from robot_wm_export.export import export_agent
from robot_wm_export.rollout import record_rollout

# DDS domains that Fast DDS's default ports allow, less those that people use by hand.
DOMAINS = range(100, 200)


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``make_bundle("a1_velocity")``: the folder of an untrained, tiny agent's bundle; made once a session."""
    made: dict[tuple[str, Path | None], Path] = {}

    def make(task: str, *, sign: Path | None = None) -> Path:
        if (task, sign) not in made:
            out = tmp_path_factory.mktemp("bundles") / f"{task}.rwm"
            env = make_env(task, seed=1)
            try:
                spec = agent_spec(env)
                config = DreamerConfig(size="nano", deter=32, hidden=8, stoch=4, classes=3, depth=2, units=16, blocks=4)
                generator = torch.Generator().manual_seed(1)
                agent = DreamerAgent(config, spec.model_inputs(), spec.action_dim, False, generator=generator).eval()
                with torch.no_grad():  # a new actor says zero, whatever it sees
                    agent.actor.out.weight.normal_(std=0.5, generator=generator)
                    far = (torch.arange(config.bins) - config.bins // 2).abs() / (config.bins // 2)
                    agent.critic.out.bias.copy_(-40.0 * far)  # values of the order of one, as after training
                rollout = record_rollout(agent, env, 256, 1)
            finally:
                env.close()
            export_agent(agent, spec, rollout, {"steps": 0}, out, sign, profiles=("policy.op17.onnx",))
            made[task, sign] = out
        return made[task, sign]

    return make


@pytest.fixture
def domain(worker_offset: Iterator[int], monkeypatch: pytest.MonkeyPatch) -> int:
    """A ROS_DOMAIN_ID of this test's own, set in its environment: nodes of two tests never meet."""
    number = next(worker_offset)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return number


@pytest.fixture(scope="session")
def worker_offset() -> Iterator[int]:
    """Domain numbers, beginning where another run on this machine is not likely to be."""
    start = os.getpid() % len(DOMAINS)

    def numbers() -> Iterator[int]:
        count = 0
        while True:
            yield DOMAINS[(start + count) % len(DOMAINS)]
            count += 1

    return numbers()


@pytest.fixture
def spawn(domain: int) -> Iterator[Callable[..., NodeProcess]]:
    """``spawn("robot_wm_ros.agent", "--ros-args", "-p", ...)``: run a module as a node until the test ends."""
    running: list[NodeProcess] = []

    def start(module: str, *arguments: str) -> NodeProcess:
        running.append(NodeProcess.module(module, *arguments))
        return running[-1]

    yield start
    for process in reversed(running):
        process.close()
