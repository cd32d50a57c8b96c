"""Environments and backends that are closed when a test ends."""

import pytest

from robot_wm.tasks import make_env
from robot_wm_sim.backend import load_backend


@pytest.fixture
def build_env():
    """make_env without wrappers; every environment is closed after the test."""
    built = []

    def build(task, **options):
        built.append(make_env(task, **options).unwrapped)
        return built[-1]

    yield build
    for env in built:
        env.close()


@pytest.fixture(params=["pybullet", "mujoco"])
def build_sim(request):
    """The backend of a scene, once over each engine, closed after the test."""
    built = []

    def build(scene):
        built.append(load_backend(request.param)(scene))
        return built[-1]

    yield build
    for sim in built:
        sim.close()
