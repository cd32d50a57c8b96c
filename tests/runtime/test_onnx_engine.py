"""The ONNX Runtime engine against a graph that can be followed by hand."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from robot_wm.errors import UserError
from robot_wm.runtime.engine import EngineError
from robot_wm.runtime.graph_tensors import StateTensor
from robot_wm.runtime.onnx_engine import OnnxEngine


@pytest.fixture
def agent(make_agent, make_spec):
    return make_agent(make_spec())


@pytest.fixture
def engine(agent):
    engine = OnnxEngine(agent.read(), agent.manifest.state)
    engine.activate()
    yield engine
    engine.deactivate()


def test_state_goes_round_and_is_first_resets_it(engine):
    values = []
    for first in (1, 0, 0, 0, 1, 0):
        engine.inputs["is_first"][0] = first
        engine.infer()
        values.append(float(engine.outputs["value"][0]))
    assert values == [1, 2, 3, 4, 1, 2]
    np.testing.assert_array_equal(engine.read_state("deter"), np.full((1, 4), 2, np.float32))


def test_the_caller_may_overwrite_a_state_between_any_two_ticks(engine):
    for tick in range(5):
        executed = np.float32([[tick, -0.5]])
        engine.write_state("action", executed)
        np.testing.assert_array_equal(engine.read_state("action"), executed)
        engine.infer()
        assert engine.outputs["surprise"][0] == tick + 0.5


def test_a_shown_state_is_what_the_output_was_and_may_be_overwritten_alone(agent):
    *others, action = agent.manifest.state
    engine = OnnxEngine(agent.read(), (*others, action.model_copy(update={"output": "action", "shown": True})))
    engine.activate()
    view = engine.outputs["action"]
    before = 0.0
    for tick in range(1, 5):
        engine.inputs["noise/action"][...] = tick
        engine.infer()
        assert engine.outputs["surprise"][0] == 2 * before  # the graph saw the last tick's action
        np.testing.assert_array_equal(view, [[tick, tick]])
        np.testing.assert_array_equal(engine.read_state("action"), view)
        before = tick
        if tick == 2:
            engine.write_state("action", np.float32([[0.25, 0.25]]))
            np.testing.assert_array_equal(view, [[tick, tick]])
            before = 0.25
    assert engine.outputs["action"] is view


def test_buffers_are_the_same_for_life(engine):
    views = {**engine.inputs, **engine.outputs}
    addresses = {name: view.ctypes.data for name, view in views.items()}
    engine.inputs["noise/latent"][...] = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    for _ in range(4):
        engine.infer()
    assert {name: view.ctypes.data for name, view in {**engine.inputs, **engine.outputs}.items()} == addresses
    np.testing.assert_array_equal(views["post_logits"], engine.inputs["noise/latent"])
    assert "state/deter" not in views
    assert "next/deter" not in views


def test_it_computes_what_a_plain_session_computes(engine, agent):
    session = ort.InferenceSession(agent.read(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    state = {tensor.input: tensor.initial_array() for tensor in agent.manifest.state}
    for _ in range(6):
        feeds = {name: rng.normal(size=view.shape).astype(np.float32) for name, view in engine.inputs.items()}
        for name, value in feeds.items():
            engine.inputs[name][...] = value
        engine.infer()
        names = [node.name for node in session.get_outputs()]
        expected = dict(zip(names, session.run(names, feeds | state), strict=True))
        for name, view in engine.outputs.items():
            np.testing.assert_array_equal(view, expected[name])
        state = {tensor.input: expected[tensor.output] for tensor in agent.manifest.state}


def test_clear_state_gives_the_initial_values(agent):
    state = tuple(
        tensor.model_copy(update={"initial": (1.5, 2.5)}) if tensor.name == "action" else tensor
        for tensor in agent.manifest.state
    )
    engine = OnnxEngine(agent.read(), state)
    engine.activate()
    for _ in range(3):
        engine.write_state("deter", np.full((1, 4), np.nan, np.float32))
        engine.infer()
        engine.clear_state()
        np.testing.assert_array_equal(engine.read_state("action"), [[1.5, 2.5]])
        np.testing.assert_array_equal(engine.read_state("deter"), np.zeros((1, 4)))


def test_activation_pairs_with_deactivation(agent):
    engine = OnnxEngine(agent.read(), agent.manifest.state)
    with pytest.raises(EngineError, match="not active"):
        engine.infer()
    for _ in range(2):
        engine.activate()
        engine.infer()
        engine.deactivate()
        engine.deactivate()
        assert not engine.inputs
        assert not engine.outputs


def test_graphs_that_do_not_fit_are_refused(agent, tmp_path):
    with pytest.raises(UserError, match="not an ONNX model"):
        OnnxEngine(b"no graph", ()).activate()
    with pytest.raises(UserError, match=r"gone\.onnx"):
        OnnxEngine(tmp_path / "gone.onnx", ()).activate()
    wrong = StateTensor(name="deter", input="state/deter", output="next/deter", shape=(1, 5))
    with pytest.raises(UserError, match="state/deter"):
        OnnxEngine(agent.read(), (wrong,)).activate()
    with pytest.raises(UserError, match="threads"):
        OnnxEngine(agent.read(), (), threads=0)
