"""One tick of each engine of this interpreter, as a function that says how long it took.

Timed are: torch, ``DreamerAgent.step`` in inference mode, from the observation on the host to the action on the host;
ONNX Runtime, ``InferenceSession.run`` alone; the controller, the whole of ``Controller.step``: checks, scaling,
history, graph, safety limits. Every one carries its recurrent state from tick to tick.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from robot_wm.dreamer.agent import DreamerAgent, TickOutput, TickState
from robot_wm.learning.agent import initial_state
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.manifest import Manifest
from robot_wm.spec import AgentSpec
from robot_wm_bench.agent import FRAMES
from robot_wm_export.rollout import Rollout

Tick = Callable[[int], int]  # number of the tick -> ns


def torch_tick(agent: DreamerAgent, rollout: Rollout, device: str, *, compiled: bool) -> Tick:
    """A tick in torch on ``device``, cpu or cuda; ``agent`` is moved there.

    ``compiled``: through torch.compile, on a GPU with ``max-autotune``, which records CUDA graphs.
    """
    on_gpu = device == "cuda"
    agent.to(device)
    frames = [_frame(rollout, frame, pinned=on_gpu) for frame in range(FRAMES)]
    is_first = torch.zeros(1, device=device)
    latent = torch.zeros(1, agent.config.stoch, agent.config.classes, device=device)
    noise = torch.zeros(1, agent.action_dim, device=device)
    act: Callable[..., TickOutput] = agent.step
    if compiled:
        act = torch.compile(agent.step, mode="max-autotune" if on_gpu else "default", dynamic=False)
    state = TickState(**initial_state(agent.state, 1, device))

    def tick(number: int) -> int:
        nonlocal state
        frame = frames[number % FRAMES]
        begin_ns = perf_counter_ns()
        obs = {name: value.to(device, non_blocking=True) for name, value in frame.items()} if on_gpu else frame
        out = act(obs, is_first, state, latent, noise)
        out.action.cpu()
        end_ns = perf_counter_ns()
        # A recorded CUDA graph overwrites at the next replay what it put out at this one.
        state = TickState(*(part.clone() for part in out.state)) if compiled and on_gpu else out.state
        return end_ns - begin_ns

    return tick


def _frame(rollout: Rollout, number: int, *, pinned: bool) -> dict[str, torch.Tensor]:
    frame = {name: torch.from_numpy(values[number]) for name, values in rollout.observations.items()}
    return {name: value.pin_memory() for name, value in frame.items()} if pinned else frame


def onnxruntime_tick(graph: bytes, manifest: Manifest, rollout: Rollout) -> Tick:
    """A tick of ``graph`` in bare ONNX Runtime on one CPU thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    back = [(state.input, names.index(state.output)) for state in manifest.state]
    feed: dict[str, NDArray[Any]] = {t.name: np.zeros(t.shape, dtype=t.dtype) for t in manifest.inputs()}

    def tick(number: int) -> int:
        for name, values in rollout.observations.items():
            feed[f"obs/{name}"] = values[number % FRAMES]
        begin_ns = perf_counter_ns()
        made = session.run(None, feed)
        end_ns = perf_counter_ns()
        for name, index in back:
            feed[name] = made[index]
        return end_ns - begin_ns

    return tick


def controller_tick(spec: AgentSpec, bundle: Bundle, rollout: Rollout) -> Tick:
    """A control step of the runtime, which computes the graph in ONNX Runtime on one CPU thread."""
    controller = Controller(bundle)
    controller.activate()
    controller.enable()
    # One frame of raw values: the agent of this benchmark takes them unscaled and without history.
    frames = [{name: values[frame, 0] for name, values in rollout.observations.items()} for frame in range(FRAMES)]

    def tick(number: int) -> int:
        frame = frames[number % FRAMES]
        begin_ns = perf_counter_ns()
        command = controller.step(frame, number * spec.control_period_s)
        end_ns = perf_counter_ns()
        if command.faults:  # a controller that refuses to drive does not ask the graph: nothing to measure
            raise RuntimeError(f"the controller stopped: {command.detail}")
        return end_ns - begin_ns

    return tick
