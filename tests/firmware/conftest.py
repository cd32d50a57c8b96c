"""Agents of the simulated robots, the robots' files, and bundles that hold nothing but a spec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robot_wm.firmware.board_model import BoardConfig
from robot_wm.firmware.loading import load_board, load_robot
from robot_wm.firmware.robot_model import RobotConfig
from robot_wm.runtime.bundle_writer import write_bundle
from robot_wm.runtime.graph_tensors import TensorSpec
from robot_wm.runtime.manifest import POLICY_OP17, Lineage
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.parity_section import Parity
from robot_wm.spec import AgentSpec
from robot_wm.tasks import agent_spec, make_env

# A task of each robot that is described: what its agents are trained on.
TASKS = {"a1": "a1_velocity", "panda": "panda_reach", "cartpole": "cartpole_swingup", "racecar": "racecar_goal"}


@pytest.fixture(scope="session")
def specs() -> dict[str, AgentSpec]:
    """The spec that each robot's task really gives to its agents."""
    found = {}
    for robot, task in TASKS.items():
        env = make_env(task)
        found[robot] = agent_spec(env)
        env.close()
    return found


@pytest.fixture(scope="session")
def a1() -> RobotConfig:
    return load_robot("a1")


@pytest.fixture(scope="session")
def orin_nx() -> BoardConfig:
    return load_board("orin-nx")


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[[AgentSpec], Path]:
    """``make_bundle(spec)``: a bundle with that spec, whose graph nobody runs here."""

    def make(spec: AgentSpec) -> Path:
        out = tmp_path / f"{spec.content_hash()[:8]}.rwm"
        ticks = 256
        inputs = {f"obs/{name}": np.zeros((ticks, 1, *e.shape), e.dtype) for name, e in spec.model_inputs().items()}
        inputs["is_first"] = np.zeros((ticks, 1), np.float32)
        outputs = (
            TensorSpec(name="action", shape=(1, spec.action_dim)),
            TensorSpec(name="value", shape=(1,)),
            TensorSpec(name="surprise", shape=(1,)),
        )
        recorded = {tensor.name: np.zeros((ticks, *tensor.shape), np.float32) for tensor in outputs}
        write_bundle(
            out,
            kind="dreamer",
            spec=spec,
            state=(),
            noise=(),
            outputs=outputs,
            draws=(),
            surprise_unit="nats",
            graphs={POLICY_OP17: b"a graph"},
            recording=Recording(inputs=inputs, outputs=recorded),
            parity=Parity(ticks=ticks, results={}),
            lineage=Lineage(),
        )
        return out

    return make
