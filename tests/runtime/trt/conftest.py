"""An emulated GPU with an emulated TensorRT, and an agent with every kind of tensor."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from emulated_cuda import Cuda
from emulated_tensorrt import TensorRT
from onnx import TensorProto, helper

from robot_wm.runtime.graph_tensors import StateTensor
from robot_wm.runtime.trt import api, choice


@pytest.fixture
def cuda(monkeypatch) -> Cuda:
    emulated = Cuda()
    package, bindings = ModuleType("cuda"), ModuleType("cuda.bindings")
    package.bindings, bindings.runtime = bindings, emulated.module
    for module in (package, bindings, emulated.module):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return emulated


@pytest.fixture
def trt(monkeypatch, cuda) -> TensorRT:
    emulated = TensorRT(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", emulated.module)
    yield emulated
    api._of.cache_clear()


@pytest.fixture
def short_timing(monkeypatch) -> None:
    """Time what is built no longer than a test needs that does not ask which way is faster."""
    monkeypatch.setattr(choice, "_WARM_UP_TICKS", 1)
    monkeypatch.setattr(choice, "_TICKS", 2)


@pytest.fixture(scope="session")
def wide_agent() -> tuple[bytes, tuple[StateTensor, ...]]:
    """A graph with a large state (deter, 16 KB), two small ones, and an image.

    next/deter = (deter + mean(image) + action) * 0.5, so that every tick's result hangs on all the ticks before.
    """
    node, floats = helper.make_node, TensorProto.FLOAT
    inputs = {"state/deter": [1, 4096], "obs/joints": [1, 3], "state/action": [1, 2], "state/count": [1, 1]}
    outputs = {"action": [1, 2], "next/deter": [1, 4096], "value": [1], "next/count": [1, 1], "next/action": [1, 2]}
    image = helper.make_tensor_value_info("obs/image", TensorProto.UINT8, [1, 8, 8, 3])
    graph = helper.make_graph(
        [
            node("Cast", ["obs/image"], ["pixels"], to=floats),
            node("ReduceMean", ["pixels"], ["light"], keepdims=0),
            node("ReduceSum", ["state/action"], ["moved"], keepdims=0),
            node("ReduceSum", ["obs/joints"], ["joints"], keepdims=0),
            node("Sum", ["light", "moved", "joints"], ["news"]),
            node("Add", ["state/deter", "news"], ["sum"]),
            node("Mul", ["sum", "half"], ["next/deter"]),
            node("ReduceMean", ["next/deter"], ["value"], axes=[1], keepdims=0),
            node("Add", ["state/count", "one"], ["next/count"]),
            node("Mul", ["state/action", "half"], ["damped"]),
            node("Add", ["damped", "value"], ["action"]),
            node("Identity", ["action"], ["next/action"]),
        ],
        "tick",
        [*(helper.make_tensor_value_info(name, floats, shape) for name, shape in inputs.items()), image],
        [helper.make_tensor_value_info(name, floats, shape) for name, shape in outputs.items()],
        [helper.make_tensor("half", floats, [1], [0.5]), helper.make_tensor("one", floats, [1], [1.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    state = (
        StateTensor(name="deter", input="state/deter", output="next/deter", shape=(1, 4096), initial=(0.25,)),
        StateTensor(name="count", input="state/count", output="next/count", shape=(1, 1), initial=(7.0,)),
        StateTensor(name="action", input="state/action", output="next/action", shape=(1, 2), initial=(1.0, -2.0)),
    )
    return model.SerializeToString(), state
