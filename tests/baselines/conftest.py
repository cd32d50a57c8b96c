"""Environments that are closed when a test ends, and settings small enough for a test."""

import pytest
from quick_xla import unoptimised_xla

from robot_wm.baselines.settings import Algorithm
from robot_wm.tasks import make_env

SMALL = {
    "sac": dict(library="stable_baselines3", algorithm="SAC", settings=dict(learning_starts=60, batch_size=8)),
    "ppo": dict(library="stable_baselines3", algorithm="PPO", envs=2, normalize=True, device="cpu"),
    "crossq": dict(library="sbx", algorithm="CrossQ", settings=dict(learning_starts=60, batch_size=8, policy_delay=1)),
    "droq": dict(library="sbx", algorithm="SAC", target_entropy_per_joint=-0.5),
}
SMALL["ppo"]["settings"] = dict(n_steps=32, batch_size=32, n_epochs=2)
SMALL["droq"]["settings"] = dict(learning_starts=60, batch_size=8, gradient_steps=4, policy_delay=4)
POLICY = {"droq": dict(dropout_rate=0.01, layer_norm=True)}


@pytest.fixture(scope="session", autouse=True)
def quick_xla():
    """XLA is loaded by the first test that needs it, and compiles for most of that test: it shall not optimise."""
    with unoptimised_xla():
        yield


@pytest.fixture
def small():
    """A declared algorithm with one layer of 16 units; keywords change its settings."""

    def declare(name, **settings):
        body = SMALL[name] | {"source": "this test", "policy": {"net_arch": [16], **POLICY.get(name, {})}}
        return Algorithm.model_validate(body | {"settings": body["settings"] | settings})

    return declare


@pytest.fixture
def build_env():
    """make_env; every environment is closed after the test."""
    built = []

    def build(task, **options):
        built.append(make_env(task, **options))
        return built[-1]

    yield build
    for env in built:
        env.close()
