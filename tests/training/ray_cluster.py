"""What the tests of collectors elsewhere share: one small cluster, and collectors of a toy on it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from robot_wm.agents import agent_kind
from robot_wm.training.cluster.collector import RayCollector
from robot_wm.training.cluster.connection import joined, require_answer
from robot_wm.training.collector import InlineCollector
from robot_wm.training.env_pool import EnvPool
from robot_wm.training.world import look_at

TOYS = Path(__file__).parent
CPUS = 2
PLENTY = 10**6  # policy steps


@pytest.fixture(scope="session")
def ray():
    """Ray with a cluster of two CPUs, whose processes find the toys."""
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(TOYS), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        with joined("local", cpus=CPUS) as ray:
            yield ray


def toy(name="Counter", **options):
    """Settings of a run of a toy on the cluster."""
    options = {"observation": "proprio", **options}
    return dict(task=f"gym:toy_envs:toys/{name}-v0", task_options=options, actor="ray", ray_address="local")


@pytest.fixture
def elsewhere(ray, tiny, monkeypatch):
    """Makes collectors on the cluster, and the agent that they act by; all are closed in the end."""
    monkeypatch.syspath_prepend(str(TOYS))
    made = []

    def make(*, seed=3, **changes):
        config = tiny(**changes)
        spec = look_at(config).spec
        torch.manual_seed(0)
        agent = agent_kind(config.agent).make_agent(config.settings, spec).eval()
        made.append(RayCollector(config, spec, agent, seed=seed))
        return made[-1], agent

    yield make
    for one in made:
        one.close()


def steps_of(collector, wanted):
    """Transitions until ``wanted`` tells that those are enough."""
    found = []
    while not wanted(found):
        found += collector.poll()
    return found


def beside(config, agent, *, seed):
    """The collector that acts in this process."""
    pool = EnvPool(config.task, dict(config.task_options), envs=config.envs, seed=seed)
    return InlineCollector(pool, agent, seed=seed)


@contextmanager
def in_no_cluster_yet(address, **_):
    """As `joined` in a process that is in none."""
    require_answer(address)
    yield
