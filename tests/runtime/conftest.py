"""Specs and stand-in agents that the runtime's tests share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from robot_wm.runtime.bundle_writer import write_bundle
from robot_wm.runtime.graph_tensors import Draw, NoiseTensor, StateTensor, TensorSpec
from robot_wm.runtime.manifest import PARITY, POLICY_OP17, FileEntry, Lineage, Manifest
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.parity import replay
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.parity_section import Parity
from robot_wm.runtime.signature import generate_key, load_private_key
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, JointLimits, ObservationField

FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8

MAX_SECONDS = 10.0  # for the refusal of a hostile bundle; a graph is tried in a process of its own

SpecMaker = Callable[..., AgentSpec]
Change = Callable[[Path], Path]  # changes a bundle's folder; returns what is to be opened
Judge = Callable[[Path], tuple[str, float]]


@pytest.fixture(scope="session")
def make_spec() -> SpecMaker:
    """A two-joint position-controlled arm; keyword arguments replace parts of it."""

    def make(**changes: Any) -> AgentSpec:
        parts: dict[str, Any] = {
            "task": "arm_reach",
            "robot": "arm",
            "control_rate_hz": 50.0,
            "physics_rate_hz": 500.0,
            "history_length": 3,
            "observations": (
                ObservationField(
                    name="joint_position",
                    shape=(2,),
                    unit="rad",
                    labels=("shoulder", "elbow"),
                    role="joint_position",
                    offset=(0.1, -0.2),
                    scale=(2.0, 0.5),
                    clip=3.0,
                ),
                ObservationField(name="gyro", shape=(3,), unit="rad/s", scale=(0.25,), max_age_s=0.05),
                ObservationField(name="last_action", shape=(2,), unit="rad", source="last_action"),
            ),
            "action": ActionSpec(
                mode="position",
                joints=("shoulder", "elbow"),
                unit="rad",
                scale=(0.25, -0.5),
                offset=(0.1, 0.8),
                clip=4.0,
                limits=(
                    JointLimits(position=(-0.8, 0.8), velocity=5.0, effort=20.0),
                    JointLimits(position=(-1.0, 2.6), velocity=10.0, rate=8.0),
                ),
            ),
            "firmware": FirmwareProfile(name="arm"),
        }
        return AgentSpec(**(parts | changes))

    return make


@dataclass(frozen=True)
class StandIn:
    """An agent whose graph can be followed by hand; what a controller needs of a bundle."""

    manifest: Manifest
    graph: bytes

    def read(self) -> bytes:
        return self.graph


@pytest.fixture(scope="session")
def make_agent() -> Callable[[AgentSpec], StandIn]:
    """An agent for a spec, with a graph of the real inputs and outputs.

    action = the newest A elements of the first field + noise/action; value = ticks since is_first (kept in
    state/deter, which is_first resets); surprise = sum of |state/action|, 0 at first, so that the action written back
    can be seen; state/stoch passes through; post_logits = noise/latent.
    """
    return stand_in


def stand_in(spec: AgentSpec) -> StandIn:
    a = spec.action_dim
    first = spec.observations[0]
    width = spec.model_inputs()[first.name].shape[0]
    shapes = {"state/deter": [1, 4], "state/stoch": [1, 2, 3], "state/action": [1, a]}
    inputs = [
        helper.make_tensor_value_info(f"obs/{name}", FLOAT if entry.dtype == "float32" else UINT8, [1, *entry.shape])
        for name, entry in spec.model_inputs().items()
    ]
    inputs += [helper.make_tensor_value_info("is_first", FLOAT, [1])]
    inputs += [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in shapes.items()]
    inputs += [helper.make_tensor_value_info("noise/latent", FLOAT, [1, 2, 3])]
    inputs += [helper.make_tensor_value_info("noise/action", FLOAT, [1, a])]
    outputs = [
        helper.make_tensor_value_info(name, FLOAT, shape)
        for name, shape in {
            "action": [1, a],
            "value": [1],
            "surprise": [1],
            "post_logits": [1, 2, 3],
            "next/deter": [1, 4],
            "next/stoch": [1, 2, 3],
            "next/action": [1, a],
        }.items()
    ]
    constants = {
        "one": np.float32([1]),
        "begin": np.int64([width - first.shape[0]]),
        "end": np.int64([width - first.shape[0] + a]),
        "axis": np.int64([1]),
    }
    node = helper.make_node
    nodes = [
        node("Sub", ["one", "is_first"], ["keep"]),
        node("Mul", ["state/deter", "keep"], ["deter"]),
        node("Add", ["deter", "one"], ["next/deter"]),
        node("Identity", ["state/stoch"], ["next/stoch"]),
        node("Slice", [f"obs/{first.name}", "begin", "end", "axis"], ["newest"]),
        node("Add", ["newest", "noise/action"], ["action"]),
        node("Identity", ["action"], ["next/action"]),
        node("ReduceMean", ["next/deter"], ["value"], axes=[1], keepdims=0),
        node("Mul", ["state/action", "keep"], ["executed"]),
        node("Abs", ["executed"], ["magnitude"]),
        node("ReduceSum", ["magnitude", "axis"], ["surprise"], keepdims=0),
        node("Identity", ["noise/latent"], ["post_logits"]),
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tick", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    entry = FileEntry(sha256="0" * 64, size_bytes=0)
    manifest = Manifest(
        kind="dreamer",
        spec=spec,
        spec_sha256=spec.content_hash(),
        files={POLICY_OP17: entry, PARITY: entry},
        state=tuple(
            StateTensor(name=name[6:], input=name, output=f"next/{name[6:]}", shape=tuple(shape))
            for name, shape in shapes.items()
        ),
        noise=(
            NoiseTensor(name="noise/latent", shape=(1, 2, 3), distribution="gumbel"),
            NoiseTensor(name="noise/action", shape=(1, a), distribution="normal"),
        ),
        outputs=(
            TensorSpec(name="action", shape=(1, a)),
            TensorSpec(name="value", shape=(1,)),
            TensorSpec(name="surprise", shape=(1,)),
            TensorSpec(name="post_logits", shape=(1, 2, 3)),
        ),
        draws=(
            Draw(logits="post_logits", noise="noise/latent", drawn="next/stoch", before=("next/deter", "post_logits")),
        ),
        surprise_unit="nats",
        parity=Parity(ticks=256, results={}),
        lineage=Lineage(),
    )
    return StandIn(manifest, model.SerializeToString())


@dataclass(frozen=True)
class Signed:
    """A signed bundle of a stand-in agent with a recording of its graph, and the keys."""

    folder: Path
    private_key: Path
    public_key: Path


@pytest.fixture(scope="session")
def signed_original(tmp_path_factory: pytest.TempPathFactory, make_spec: SpecMaker) -> Signed:
    """Written once; tests that change it take ``signed_bundle``."""
    folder = tmp_path_factory.mktemp("signed")
    public = generate_key(folder / "robot.pem")
    agent = stand_in(make_spec())
    manifest, ticks = agent.manifest, agent.manifest.parity.ticks
    rng = np.random.default_rng(0)
    inputs = {t.name: rng.normal(size=(ticks, *t.shape)).astype(t.dtype) for t in manifest.inputs()}
    inputs["is_first"] = (rng.random((ticks, 1)) < 0.1).astype(np.float32)
    engine = OnnxEngine(agent.graph, manifest.state)
    engine.activate()
    outputs = replay(engine, inputs, manifest.state, manifest.outputs)
    write_bundle(
        folder / "agent.rwm",
        kind="dreamer",
        spec=manifest.spec,
        state=manifest.state,
        noise=manifest.noise,
        outputs=manifest.outputs,
        draws=manifest.draws,
        surprise_unit=manifest.surprise_unit,
        graphs={POLICY_OP17: agent.graph},
        recording=Recording(inputs=inputs, outputs=outputs),
        parity=manifest.parity,
        lineage=Lineage(steps=7),
        sign_key=load_private_key(folder / "robot.pem"),
    )
    return Signed(folder / "agent.rwm", folder / "robot.pem", public)


@pytest.fixture
def signed_bundle(signed_original: Signed, tmp_path: Path) -> Signed:
    """A copy of its own for every test."""
    folder = tmp_path / "agent.rwm"
    shutil.copytree(signed_original.folder, folder)
    return replace(signed_original, folder=folder)


# Runs each case under a limit of address space and says what came of it.
JUDGE = """
import importlib.util, json, resource, sys, time
spec = importlib.util.spec_from_file_location("hostile", sys.argv[1])
hostile = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hostile)
hostile.use(hostile.Path(sys.argv[2]))  # imports and first allocations are not the enemy's
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + hostile.MAX_EXTRA_BYTES,) * 2)
for line in sys.stdin:
    begin = time.perf_counter()
    message = hostile.use(hostile.Path(line.strip()))
    print(json.dumps([message, time.perf_counter() - begin]), flush=True)
"""


@pytest.fixture(scope="module")
def judge(signed_original: Signed) -> Iterator[Judge]:
    """Ask another process, whose memory is limited, what it makes of a bundle: (refusal, seconds)."""
    process = subprocess.Popen(
        [sys.executable, "-c", JUDGE, hostile.__file__, str(signed_original.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdin
    assert process.stdout

    def ask(path: Path) -> tuple[str, float]:
        print(path, file=process.stdin, flush=True)
        answer = process.stdout.readline()
        assert answer, f"the process died: {process.wait(10)}"
        message, seconds = json.loads(answer)
        return message, seconds

    yield ask
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdout.close()


@pytest.fixture
def require_refusal(signed_bundle: Signed, judge: Judge) -> Callable[[Change, str], None]:
    """``require_refusal(change, naming)``: a signed bundle, so changed, is refused fast, in words that name that."""

    def require(change: Change, naming: str) -> None:
        hostile_bundle = change(signed_bundle.folder)
        message, seconds = judge(hostile_bundle)
        assert naming in message
        if seconds >= MAX_SECONDS:  # once more: the machine may have been busy with something else
            _, seconds = judge(hostile_bundle)
        assert seconds < MAX_SECONDS

    return require
