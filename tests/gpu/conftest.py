"""Bundles of fresh agents for tests that need a GPU; all of them are skipped where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle


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
    """A bundle of a fresh 12m agent, whose deter is large enough to live on the GPU.

    An interpreter with TensorRT but without torch is given them: ROBOT_WM_GPU_BUNDLES names the folder in which
    another one, which ``write_bundles.py`` was run with, left them.
    """
    if given := os.environ.get("ROBOT_WM_GPU_BUNDLES"):
        path = Path(given) / f"{request.param}.rwm"
    else:
        pytest.importorskip("torch")
        from write_bundles import write_bundle

        path = write_bundle(request.param, tmp_path_factory.mktemp(request.param))
    with Bundle.open(path) as opened:
        yield opened


@pytest.fixture(scope="session")
def engine_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of engines for the session: building takes long."""
    return tmp_path_factory.mktemp("engines")
