"""TensorRTEngine's own work, on an emulated GPU: buffers, phases, capture, failure. ONNX Runtime says what is right."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.engine import EngineError
from robot_wm.runtime.graph_tensors import StateTensor
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.trt.engine import TensorRTEngine

NOTHING = {"host": 0, "device": 0, "streams": 0, "graphs": 0, "executables": 0}

pytestmark = pytest.mark.usefixtures("trt")


@pytest.fixture
def pair(wide_agent):
    """The engine under test and the one that is right."""
    engines = TensorRTEngine(*wide_agent), OnnxEngine(*wide_agent)
    for engine in engines:
        engine.activate()
    return engines


def same(ours, right, states=("deter", "count", "action")):
    for name, view in right.outputs.items():
        np.testing.assert_array_equal(ours.outputs[name], view, err_msg=name)
    for name in states:
        np.testing.assert_array_equal(ours.read_state(name), right.read_state(name), err_msg=name)


def feed(rng, *engines):
    for name, view in engines[0].inputs.items():
        values = rng.integers(0, 256, view.shape) if view.dtype == np.uint8 else rng.normal(size=view.shape)
        for engine in engines:
            engine.inputs[name][...] = values


@pytest.mark.parametrize("cuda_graph", [True, False])
@pytest.mark.parametrize("integrated", [True, False])
def test_it_computes_what_onnx_runtime_computes(wide_agent, cuda, cuda_graph, integrated):
    cuda.integrated = integrated
    ours, right = TensorRTEngine(*wide_agent, cuda_graph=cuda_graph), OnnxEngine(*wide_agent)
    for engine in (ours, right):
        engine.activate()
    assert ours.graph_error is None
    rng = np.random.default_rng(0)
    same(ours, right)
    for tick in range(7):
        feed(rng, ours, right)
        if tick % 3 == 1:  # as the controller does
            for engine in (ours, right):
                engine.write_state("action", np.float32([[tick, 0.5]]))
        if tick == 4:
            for engine in (ours, right):
                engine.write_state("deter", np.full((1, 4096), 3.0, np.float32))
        if tick == 5:
            for engine in (ours, right):
                engine.clear_state()
        ours.infer()
        right.infer()
        same(ours, right)
    # Outputs always, inputs where there is one memory; the two states of the large one are GPU memory even there.
    assert len(cuda.mapped) == (2 if integrated else 1)
    ours.deactivate()


@pytest.mark.parametrize(("options", "priority"), [({}, -5), ({"background": True}, 0)])
def test_in_the_background_everybody_else_goes_first(wide_agent, cuda, options, priority):
    engine = TensorRTEngine(*wide_agent, **options)
    engine.activate()
    assert [stream.priority for stream in cuda.streams.values()] == [priority]
    engine.deactivate()


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_a_shown_state_is_an_output_that_goes_round(wide_agent, cuda_graph):
    graph, state = wide_agent
    shown = (*state[:-1], state[-1].model_copy(update={"output": "action", "shown": True}))
    ours, right = TensorRTEngine(graph, shown, cuda_graph=cuda_graph), OnnxEngine(graph, state)
    for engine in (ours, right):
        engine.activate()
    rng = np.random.default_rng(0)
    for tick in range(6):
        feed(rng, ours, right)
        if tick == 3:  # as the controller does
            seen = ours.outputs["action"].copy()
            for engine in (ours, right):
                engine.write_state("action", np.float32([[5.0, 0.5]]))
            np.testing.assert_array_equal(ours.outputs["action"], seen)
        ours.infer()
        right.infer()
        same(ours, right)


def test_buffers_are_the_same_for_life_and_state_is_not_among_them(pair):
    ours, _ = pair
    before = {name: view.ctypes.data for name, view in {**ours.inputs, **ours.outputs}.items()}
    for _ in range(4):
        ours.infer()
    assert {name: view.ctypes.data for name, view in {**ours.inputs, **ours.outputs}.items()} == before
    assert set(before) == {"obs/image", "obs/joints", "action", "value"}
    assert all(address % 256 == 0 for address in before.values())


def test_a_tick_is_one_launch_and_one_wait(pair, cuda):
    ours, _ = pair
    cuda.calls.clear()
    for _ in range(3):
        ours.write_state("action", np.float32([[1, 2]]))
        ours.infer()
    assert cuda.calls == ["cudaGraphLaunch", "cudaStreamSynchronize"] * 3


@pytest.mark.parametrize(("mapped", "copies"), [(None, 1), (False, 2), (True, 0)])
def test_without_a_graph_a_tick_is_at_most_one_copy_each_way(wide_agent, cuda, mapped, copies):
    ours = TensorRTEngine(*wide_agent, cuda_graph=False, mapped=mapped)
    ours.activate()
    cuda.calls.clear()
    ours.infer()
    assert cuda.calls == ["cudaMemcpyAsync"] * copies + ["cudaStreamSynchronize"]
    assert not cuda.executables


def test_it_starts_with_the_initial_state_and_zeros(pair):
    ours, right = pair
    same(ours, right)
    assert not any(view.any() for view in (*ours.inputs.values(), *ours.outputs.values()))


@pytest.mark.parametrize(
    ("culprit", "words"),
    [("cuda", "cudaErrorStreamCaptureInvalidated"), ("trt", "not permitted when stream is capturing")],
)
def test_a_capture_that_fails_is_told_and_done_without(wide_agent, request, cuda, culprit, words):
    request.getfixturevalue(culprit).capturable = False
    ours, right = TensorRTEngine(*wide_agent), OnnxEngine(*wide_agent)
    for engine in (ours, right):
        engine.activate()
    assert words in ours.graph_error
    assert cuda.alive["graphs"] == cuda.alive["executables"] == 0
    rng = np.random.default_rng(1)
    for _ in range(4):
        feed(rng, ours, right)
        ours.infer()
        right.infer()
        same(ours, right)
    ours.deactivate()
    assert ours.graph_error is None


def test_everything_is_given_back(wide_agent, cuda):
    ours = TensorRTEngine(*wide_agent)
    for _ in range(2):
        ours.activate()
        ours.activate()
        ours.infer()
        assert cuda.alive == {"host": 2, "device": 3, "streams": 1, "graphs": 0, "executables": 2}
        ours.deactivate()
        ours.deactivate()
        assert not ours.inputs
        assert not ours.outputs
        assert cuda.alive == NOTHING
    with pytest.raises(EngineError, match="not active"):
        ours.infer()


def test_an_old_view_outlives_the_engine(pair, cuda):
    ours, _ = pair
    ours.infer()
    view = ours.outputs["action"]
    values = view.copy()
    ours.deactivate()
    np.testing.assert_array_equal(view, values)
    assert cuda.alive["host"] == 1
    del view
    gc.collect()
    assert cuda.alive["host"] == 0


@pytest.mark.parametrize(
    "name",
    [
        "cudaGetDeviceProperties",
        "cudaStreamCreateWithPriority",
        "cudaHostAlloc",
        "cudaMalloc",
        "cudaMemcpyAsync",
        "cudaStreamSynchronize",
        "cudaGraphLaunch",
    ],
)
def test_a_failure_half_way_gives_back_what_there_is(wide_agent, cuda, name):
    engine = TensorRTEngine(*wide_agent)
    engine.activate()
    calls = cuda.calls.count(name)
    engine.deactivate()
    assert calls
    for good in range(calls):  # calls before the one that fails, and all after it
        cuda.fail = {name: good}
        with pytest.raises(UserError, match=f"{name}: cudaErrorIllegalAddress: in words"):
            engine.activate()
        cuda.fail = {}
        gc.collect()
        assert cuda.alive == NOTHING
    engine.activate()
    engine.deactivate()


def test_a_failed_tick_is_an_engine_error_and_clearing_mends_it(pair, trt):
    ours, right = pair
    ours.infer()
    trt.cuda.fail = {"cudaGraphLaunch": 0}
    with pytest.raises(EngineError, match="cudaGraphLaunch"):
        ours.infer()
    # A controller clears the state then, while the GPU takes nothing: it must not raise, and the next tick must.
    trt.cuda.fail |= {"cudaMemcpyAsync": 0}
    ours.clear_state()
    with pytest.raises(EngineError, match="cudaMemcpyAsync"):
        ours.infer()
    trt.cuda.fail = {}
    ours.infer()
    right.infer()
    same(ours, right)


def test_a_tick_that_tensorrt_refuses_says_why(wide_agent, trt):
    ours = TensorRTEngine(*wide_agent, cuda_graph=False)
    ours.activate()
    trt.fail_after = 0
    with pytest.raises(EngineError, match="planted failure"):
        ours.infer()
    trt.fail_after = None


@pytest.mark.parametrize("fields", [1, 3])
def test_a_controller_drives_with_it(make_agent, make_spec, fields):
    agent = make_agent(make_spec(observations=make_spec().observations[:fields]))
    commands = []
    for engine in (
        TensorRTEngine(agent.graph, agent.manifest.state),
        OnnxEngine(agent.graph, agent.manifest.state),
    ):
        frame = {f.name: np.zeros(f.shape, f.dtype) for f in agent.manifest.spec.observations}
        with Controller(agent, engine=engine) as controller:
            controller.enable()
            steps = [controller.step(frame, tick / 50) for tick in range(20)]
            commands.append([(step.command.copy(), step.value, step.surprise, step.fault_bits) for step in steps])
            last = steps[-1]
        assert np.isfinite(last.raw_action).all()  # a view of the engine's, read after its end
    for ours, right in zip(*commands, strict=True):
        np.testing.assert_array_equal(ours[0], right[0])
        assert ours[1:] == right[1:]


def test_plans_that_do_not_fit_are_refused(wide_agent, make_agent, make_spec, cuda):
    graph, state = wide_agent
    with pytest.raises(UserError, match=r"TensorRT 8\.6\.0 cannot load it: this is no plan"):
        TensorRTEngine(b"rubbish", state).activate()
    wrong = StateTensor(name="deter", input="state/deter", output="next/deter", shape=(1, 5))
    with pytest.raises(UserError, match=r"no float32 tensor state/deter of shape \(1, 5\)"):
        TensorRTEngine(graph, (wrong,)).activate()
    shown = state[0].model_copy(update={"shown": True})
    with pytest.raises(UserError, match="state deter is an output, too; 4096 bytes at most"):
        TensorRTEngine(graph, (shown, *state[1:])).activate()
    with pytest.raises(UserError, match="state/deter"):
        TensorRTEngine(make_agent(make_spec()).graph, state).activate()
    gc.collect()
    assert cuda.alive == NOTHING


@pytest.mark.parametrize(("replaced", "words"), [("[1, 3]", r"\(-1, 3\)"), ("float16", "HALF")])
def test_other_types_and_open_shapes_are_refused(wide_agent, replaced, words):
    import onnx

    model = onnx.load_from_string(wide_agent[0])
    joints = next(entry for entry in model.graph.input if entry.name == "obs/joints")
    if replaced == "float16":
        joints.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
        cast = onnx.helper.make_node("Cast", ["obs/joints"], ["joints32"], to=onnx.TensorProto.FLOAT)
        for node in model.graph.node:
            node.input[:] = ["joints32" if name == "obs/joints" else name for name in node.input]
        model.graph.node.insert(0, cast)
    else:
        joints.type.tensor_type.shape.dim[0].dim_param = "batch"
    with pytest.raises(UserError, match=words):
        TensorRTEngine(model.SerializeToString(), wide_agent[1]).activate()
