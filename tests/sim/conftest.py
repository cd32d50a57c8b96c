"""Environments and backends that are closed when a test ends."""

import ctypes.util

import gymnasium
import pytest
from foreign_envs import TASK, Plain

from robot_wm.plugins import entries
from robot_wm.tasks import make_env
from robot_wm_sim.backend import GROUP, load_backend


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


@pytest.fixture(params=entries(GROUP))
def backend(request):
    """The name of each physics engine that is registered, in turn."""
    return request.param


@pytest.fixture
def build_sim(backend):
    """The backend of a scene, closed after the test."""
    built = []

    def build(scene):
        built.append(load_backend(backend)(scene))
        return built[-1]

    yield build
    for sim in built:
        sim.close()


@pytest.fixture
def build_seeing_sim(backend, build_sim):
    """``build_sim`` where that backend can draw."""
    if backend == "mujoco" and ctypes.util.find_library("EGL") is None:
        pytest.skip("MuJoCo needs libEGL to draw without a display")
    return build_sim


@pytest.fixture
def foreign():
    """Makes the adapter around a Plain with these attributes; ``options`` are the task's."""

    def make(options=None, **attributes):
        gymnasium.register("foreign/Plain-v0", type("Odd", (Plain,), attributes))
        return make_env(TASK, **(options or {}))

    yield make
    gymnasium.registry.pop("foreign/Plain-v0", None)
