"""The TensorRT engine on a real GPU: built, kept, right, and the same however a tick is run."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm.runtime.bundle_graph import tick_graph
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.parity import check_parity, free_run
from robot_wm.runtime.parity_section import LOW_PRECISIONS
from robot_wm.runtime.start import start_controller
from robot_wm.runtime.trt.engine import TensorRTEngine
from robot_wm.runtime.trt.provide import Provided, provide

pytestmark = pytest.mark.gpu


@pytest.fixture
def provided(bundle, engine_dir) -> Provided:
    return provide(bundle, folder=engine_dir)


@pytest.fixture
def make(bundle, provided) -> Iterator[Callable[..., TensorRTEngine]]:
    """Active engines of the bundle's plan."""
    engines = []

    def activate(**options) -> TensorRTEngine:
        engine = TensorRTEngine(provided.plan, bundle.manifest.state, **options)
        engines.append(engine)
        engine.activate()
        return engine

    yield activate
    for engine in engines:
        engine.deactivate()


def memory_in_use() -> int:
    from robot_wm.runtime.trt.cuda import Cuda

    free, total = Cuda.open().call("cudaMemGetInfo")
    return total - free


def test_an_engine_is_built_once(bundle, engine_dir, provided):
    again = provide(bundle, folder=engine_dir)
    assert not again.is_new
    assert again.plan == provided.plan


@pytest.mark.parametrize("options", [{}, {"cuda_graph": False}, {"mapped": True}, {"mapped": False}], ids=str)
def test_parity_step_by_step_and_free_running(bundle, make, options):
    engine = make(**options)
    assert engine.graph_error is None
    found = check_parity(engine, bundle)
    assert max(found.largest_error.values()) <= 1e-4
    free = free_run(engine, bundle)
    assert free.flips <= 0.01 * free.draws


def test_every_way_to_run_a_tick_gives_the_same_bits(bundle, make):
    engines = [make(), make(cuda_graph=False), make(mapped=True), make(mapped=False)]
    recorded = bundle.recording().inputs
    for tick in range(50):
        for engine in engines:
            for name, view in engine.inputs.items():
                np.copyto(view, recorded[name][tick])
            if tick % 7 == 3:
                engine.write_state("action", np.full_like(engine.read_state("action"), 0.25))
            if tick == 30:
                engine.clear_state()
            engine.infer()
        for name, view in engines[0].outputs.items():
            for engine in engines[1:]:
                np.testing.assert_array_equal(engine.outputs[name], view, err_msg=f"{name} at tick {tick}")
        for state in bundle.manifest.state:
            for engine in engines[1:]:
                np.testing.assert_array_equal(engine.read_state(state.name), engines[0].read_state(state.name))


def test_the_large_state_is_on_the_gpu_and_the_action_is_not(make):
    engine = make()
    assert "deter" in engine._large
    assert "action" in engine._small
    assert len(engine._ticks) == 2


def test_a_state_that_is_written_is_the_one_that_is_read(bundle, make):
    engine = make()
    rng = np.random.default_rng(0)
    for _ in range(3):
        engine.infer()
        for state in bundle.manifest.state:
            values = rng.normal(size=state.shape).astype(np.float32)
            engine.write_state(state.name, values)
            np.testing.assert_array_equal(engine.read_state(state.name), values)
    engine.clear_state()
    for state in bundle.manifest.state:
        np.testing.assert_array_equal(engine.read_state(state.name), state.initial_array())


def test_ten_lives_leak_nothing(bundle, provided):
    engine = TensorRTEngine(provided.plan, bundle.manifest.state)
    used = []
    for _ in range(10):
        engine.activate()
        engine.infer()
        engine.deactivate()
        gc.collect()
        used.append(memory_in_use())
    assert max(used[2:]) - used[1] < 8 * 2**20


def test_ticks_allocate_nothing(make):
    engine = make()
    before = memory_in_use()
    for _ in range(2000):
        engine.infer()
    assert memory_in_use() == before


def test_another_thread_may_run_it(make):
    engine = make()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(100):
                engine.infer()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert errors == []


def test_a_controller_drives_as_with_onnx_runtime(bundle, provided):
    spec = bundle.spec
    rng = np.random.default_rng(0)
    frames = [
        {
            field.name: rng.integers(0, 256, field.shape, dtype=np.uint8)
            if field.dtype == "uint8"
            else rng.normal(size=field.shape).astype(np.float32)
            for field in spec.observations
        }
        for _ in range(20)
    ]
    driven = []
    for engine in (provided.engine(), OnnxEngine(bundle.read(), bundle.manifest.state)):
        with start_controller(bundle, engine=engine) as controller:
            assert isinstance(controller, Controller)
            controller.enable()
            steps = (controller.step(frame, tick / spec.control_rate_hz) for tick, frame in enumerate(frames))
            driven.append(np.array([step.command.copy() for step in steps]))
    np.testing.assert_allclose(*driven, atol=1e-3)


def test_a_plan_that_was_harmed_is_refused(bundle, provided):
    for plan in (b"", provided.plan[: len(provided.plan) // 2], b"x" * 1000):
        with pytest.raises(UserError, match=r"cannot load it: .*build the engine anew"):
            TensorRTEngine(plan, bundle.manifest.state).activate()


@pytest.mark.parametrize("precision", LOW_PRECISIONS)
def test_low_precisions_keep_to_their_thresholds(bundle, engine_dir, precision):
    engine = provide(bundle, tick_graph(bundle.manifest, precision), folder=engine_dir).engine()
    engine.activate()
    check_parity(engine, bundle, precision)
    engine.deactivate()
