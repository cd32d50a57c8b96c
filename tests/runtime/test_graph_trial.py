"""A graph is tried in a process with limits: heavy ones are refused there, and this process never runs them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from robot_wm.errors import UserError
from robot_wm.runtime import graph_trial
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.engines import make_engine
from robot_wm.runtime.graph_trial import require_affordable


def made_of(nodes: list[onnx.NodeProto], **constants: np.ndarray) -> bytes:
    """A graph from ``x`` [1] to ``y``."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(constant, name) for name, constant in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def products(side: int, count: int) -> bytes:
    nodes = [helper.make_node("Expand", ["x", "side"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{n}", "m0"], [f"m{n + 1}"]) for n in range(count)]
    nodes += [helper.make_node("ReduceMax", [f"m{count}"], ["y"], keepdims=0)]
    return made_of(nodes, side=np.int64([side, side]))


def constant_products(side: int, count: int) -> bytes:
    nodes = [helper.make_node("MatMul", [f"m{n}", "m0"], [f"m{n + 1}"]) for n in range(count)]
    nodes += [helper.make_node("ReduceMax", [f"m{count}"], ["most"], keepdims=0)]
    return made_of([*nodes, helper.make_node("Add", ["x", "most"], ["y"])], m0=np.ones((side, side), np.float32))


def floats(power: int) -> bytes:
    nodes = [helper.make_node("Expand", ["x", "side"], ["m"]), helper.make_node("ReduceMax", ["m"], ["y"], keepdims=0)]
    return made_of(nodes, side=np.int64([2**power]))


@pytest.fixture(autouse=True)
def _nothing_tried(monkeypatch):
    monkeypatch.setattr(graph_trial, "_passed", set())


def test_400_products_are_refused_after_the_time_of_a_tick(monkeypatch):
    monkeypatch.setattr(graph_trial, "MAX_TICK_S", 0.25)
    with pytest.raises(UserError, match=r"^g: a tick takes .* of processor time"):
        require_affordable(products(600, 4000), ticks=256, origin="g")


def test_what_is_computed_while_loading_counts(monkeypatch):
    monkeypatch.setattr(graph_trial, "LOAD_S", 0.25)
    monkeypatch.setattr(graph_trial, "SPARE_BYTES", 2**33)
    monkeypatch.setattr(graph_trial, "_CLOCK_FACTOR", 1e4)  # the processor's time it is, not the clock's
    with pytest.raises(UserError, match=r"^g: loading it takes more than .* of processor time"):
        require_affordable(constant_products(1000, 500), ticks=256, origin="g")


def test_what_passes_once_is_not_tried_again(monkeypatch):
    graph = products(10, 10)
    require_affordable(graph, ticks=256, origin="g")
    monkeypatch.setattr(graph_trial, "_try", lambda *_: pytest.fail("tried again"))
    require_affordable(graph, ticks=256, origin="g")


def test_a_recording_that_would_take_hours_is_refused(monkeypatch):
    graph = products(300, 20)  # some milliseconds
    require_affordable(graph, ticks=1, origin="g")
    with pytest.raises(UserError, match=r"^g: its recording takes .* s of processor time; at most 900 s"):
        require_affordable(graph, ticks=10**9, origin="g")


def test_a_gigabyte_between_is_refused_and_a_few_mib_are_not():
    require_affordable(floats(20), ticks=256, origin="g")
    with pytest.raises(UserError, match=r"^g: ONNX Runtime fails on a tick of zeros in 512 MiB: .*[Aa]llocat"):
        require_affordable(floats(28), ticks=256, origin="g")


def test_a_process_that_dies_is_told(monkeypatch):
    monkeypatch.setattr(graph_trial, "_try", lambda *_: ({"load_s": 0.1}, -11))
    with pytest.raises(UserError, match=r"^g: ONNX Runtime dies of it \(SIGSEGV\)"):
        require_affordable(products(2, 1), ticks=256, origin="g")


def test_only_a_checked_signature_spares_the_trial(signed_bundle, monkeypatch):
    tried = []
    monkeypatch.setattr(graph_trial, "require_affordable", lambda graph, **given: tried.append(given))
    with Bundle.open(signed_bundle.folder, signed_bundle.public_key) as bundle:
        make_engine("onnx", bundle)
    assert tried == []
    with Bundle.open(signed_bundle.folder) as bundle:
        make_engine("onnx", bundle)
    assert tried == [{"ticks": 256, "origin": str(signed_bundle.folder / "policy.op17.onnx")}]
