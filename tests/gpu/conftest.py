"""Bundles of fresh agents for tests that need a GPU; all of them are skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.manifest import LOW_PRECISIONS, POLICY_OP17


@pytest.fixture(scope="session")
def gpu() -> None:
    """Skips without TensorRT, its bindings of CUDA, or a GPU."""
    pytest.importorskip("tensorrt")
    from robot_wm.runtime.trt.cuda import Cuda

    try:
        Cuda.open()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session", params=["proprio", "image"])
def bundle(gpu: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    """A bundle of a fresh 12m agent, whose deter is large enough to live on the GPU."""
    pytest.importorskip("torch")
    from robot_wm_export.bench_agent import fresh_agent, random_rollout
    from robot_wm_export.export import export_agent

    agent, spec = fresh_agent("12m", request.param)
    out: Path = tmp_path_factory.mktemp(request.param) / "agent.rwm"
    export_agent(agent, spec, random_rollout(agent, spec), {}, out, profiles=(POLICY_OP17,), precisions=LOW_PRECISIONS)
    with Bundle.open(out) as opened:
        yield opened


@pytest.fixture(scope="session")
def engine_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of engines for the session: building takes long."""
    return tmp_path_factory.mktemp("engines")
