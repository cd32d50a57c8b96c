"""The node's parameters choose the engine, and an agent starts with it or not at all."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from robot_wm.errors import UserError
from robot_wm.runtime import engines
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm_ros import loading, parameters
from robot_wm_ros.parameters import AgentParameters


@pytest.fixture(scope="module")
def load(make_bundle):
    """Load an agent with some parameters other than the defaults, and give it back again."""
    path = str(make_bundle("cartpole_balance"))

    def load(**given) -> type:
        with ExitStack() as undo:
            chosen = AgentParameters.of(parameters._DEFAULTS | {"bundle": path, **given})
            return type(loading.load_agent(chosen, undo, print).controller.engine)

    return load


def test_by_default_onnx_runtime_computes(load):
    assert load() is OnnxEngine


def test_the_parameters_reach_the_engine(load, monkeypatch):
    asked = []

    def make(kind, bundle, **options):
        asked.append((kind, options))
        return OnnxEngine(bundle.read(), bundle.manifest.state)

    monkeypatch.setattr(loading, "make_engine", make)
    load(engine="tensorrt", engine_dir="/srv/engines", threads=2)
    load(engine="tensorrt")
    assert asked == [
        ("tensorrt", {"precision": "fp32", "threads": 2, "engine_dir": Path("/srv/engines")}),
        ("tensorrt", {"precision": "fp32", "threads": 1, "engine_dir": None}),
    ]


def test_what_cannot_be_is_refused_in_one_line(load, monkeypatch):
    for name in ("tensorrt", "tensorrt_lean"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match="TensorRT cannot be used here"):
        load(engine="tensorrt")
    with pytest.raises(UserError, match="precision int8: the bundle has fp32"):
        load(precision="int8")
    with pytest.raises(UserError, match="parameter precision: 'fp8' is not one of fp32, fp16, int8"):
        load(precision="fp8")
    with pytest.raises(UserError, match="parameter engine: 'torch' is not one of onnx, tensorrt"):
        load(engine="torch")


def test_the_node_offers_every_engine_there_is():
    row = next(row for row in parameters._DECLARATIONS if row.name == "engine")
    assert row.choices == engines.ENGINES == ("onnx", "tensorrt")
