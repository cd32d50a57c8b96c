"""A zoo of its own for the tests: an agent that has learned nothing, from a run that has a log."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_wm.cli import run as robot_wm
from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.runtime.signature import generate_key
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training.checkpoint import RunState, mark_best, save
from robot_wm.training.config import TrainConfig
from robot_wm.training.scalars import ScalarLog
from robot_wm.zoo.catalog import Zoo

CONFIG = DreamerConfig(size="nano", deter=32, hidden=8, stoch=4, classes=3, depth=2, units=16, blocks=4, bins=31)

NOTE = "It was never trained."


def write_run(folder: Path, task: str) -> Path:
    """A run's folder with one checkpoint of an untrained agent, and a log of three rows."""
    env = make_env(task)
    spec = agent_spec(env)
    env.close()
    generator = torch.Generator().manual_seed(1)
    agent = DreamerAgent(CONFIG, spec.model_inputs(), spec.action_dim, False, generator=generator)
    with torch.no_grad():  # its actor's last layer is nearly zero at first, so that nothing wrong would show
        agent.actor.out.weight.normal_(std=0.5, generator=generator)
        agent.critic.out.weight.normal_(std=0.2, generator=generator)
    state = RunState(
        config=TrainConfig(task=task, run_dir=folder, steps=700, dreamer=CONFIG),
        agent_spec=spec,
        env_steps=600,
        updates=7,
        robot_steps=600,
        falls=3,
        wall_s=12.5,
        git_commit="abc",
    )
    tensors = {f"agent/{name}": tensor for name, tensor in agent.state_dict().items()}
    mark_best(folder, save(folder, state, tensors | {"optimiser/x": torch.zeros(2)}, {"x": np.zeros(2)}, keep=1))
    with ScalarLog(folder) as log:
        log.scalars(300, {"episode/return": 11.5, "episode/term/upright": 0.5, "loss/dynamics": 3.0})
        log.scalars(400, {"loss/dynamics": 2.0})
        log.scalars(600, {"episode/return": 12.25, "eval/return": 13.0, "run/wall_s": 12.5})
    return folder


def add_agent(zoo: Zoo, run: Path, name: str, *arguments: str) -> int:
    """Exit code of `robot-wm zoo add` with one episode in each engine."""
    zoo.root.mkdir(exist_ok=True)
    command = ["zoo", "add", "--run", str(run), "--name", name, "--zoo", str(zoo.root), "--episodes", "1"]
    return robot_wm([*command, *arguments])


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zoo's private key."""
    path = tmp_path_factory.mktemp("key") / "zoo.pem"
    generate_key(path)
    return path


@pytest.fixture(scope="session")
def pole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of cartpole_balance; not to be changed."""
    return write_run(tmp_path_factory.mktemp("pole"), "cartpole_balance")


@pytest.fixture(scope="session")
def pole_zoo(tmp_path_factory: pytest.TempPathFactory, pole_run: Path, key: Path) -> Zoo:
    """A zoo of one signed agent; not to be changed."""
    zoo = Zoo(tmp_path_factory.mktemp("zoo"))
    assert add_agent(zoo, pole_run, "pole", "--sign", str(key), "--note", NOTE) == 0
    return zoo


@pytest.fixture(scope="session")
def add() -> Callable[..., int]:
    """`robot-wm zoo add` to a zoo from a run under a name; returns its exit code."""
    return add_agent


@pytest.fixture(scope="session")
def make_run() -> Callable[[Path, str], Path]:
    """Writes a run of a task into a folder."""
    return write_run


@pytest.fixture
def copied(pole_zoo: Zoo, tmp_path: Path) -> Zoo:
    """The zoo of one agent, to be changed."""
    return Zoo(shutil.copytree(pole_zoo.root, tmp_path / "zoo"))
