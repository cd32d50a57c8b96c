"""Packages as others make them: with leapp's own API, by policies that know nothing of robot_wm."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import leapp
import pytest
import torch
import yaml
from leapp import GraphConfigs, annotate
from leapp import TensorSemantics as Tensor
from torch import nn

# In Isaac Lab's order: joint by joint, not leg by leg as our A1 has them.
A1_JOINTS = tuple(f"{leg}_{joint}_joint" for joint in ("hip", "upper", "lower") for leg in ("FL", "FR", "RL", "RR"))
A1_REST = torch.tensor([[0.1, -0.1, 0.1, -0.1, 0.8, 0.8, 1.0, 1.0, -1.5, -1.5, -1.5, -1.5]])
XYZ = ["x", "y", "z"]
QUATERNION = ["qx", "qy", "qz", "qw"]
RATE_HZ = 50.0


class A1Policy(nn.Module):
    """A velocity policy of legged_gym's kind, untrained."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.layers = nn.Sequential(nn.Linear(45, 24), nn.ELU(), nn.Linear(24, 12)).eval()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))

    def forward(self, gyro, quaternion, command, position, velocity, last_action):
        """SI target [1, 12] and the action that it is made of; the quaternion is (x, y, z, w)."""
        down = torch.zeros(1, 3)
        down[..., 2] = -1.0
        vector, scalar = quaternion[..., :3], quaternion[..., 3:4]
        turn = torch.cross(vector, down, dim=-1) * 2.0
        gravity = down - scalar * turn + torch.cross(vector, turn, dim=-1)
        seen = [gyro * 0.25, gravity, command, position - A1_REST, velocity * 0.05, last_action]
        action = self.layers(torch.cat(seen, dim=-1))
        return A1_REST + 0.25 * action, action


class CartpolePolicy(nn.Module):
    """State feedback that balances the pole, plus a little of what a GRU remembers."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.gru = nn.GRU(4, 6).eval()
        with torch.no_grad():
            for parameter in self.gru.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))

    def forward(self, position, velocity, hidden):
        """Force [1, 1] in N and the next hidden state [1, 1, 6]; position (slider, hinge)."""
        seen = torch.cat([position, velocity], dim=-1)
        remembered, hidden = self.gru(seen[None], hidden)
        return seen @ torch.tensor([[1.0], [20.0], [1.6], [4.0]]) + 0.1 * remembered[0, :, :1], hidden


Write = Callable[[Path], Any]


def _named(name: str, value: torch.Tensor, kind: str | None, elements, **extra: Any) -> Tensor:
    return Tensor(name, value, kind=kind, element_names=list(elements) if elements else None, extra=extra or None)


def _compile(out: Path, trace: Callable[[], None], *, frequency: float | None = None) -> Path:
    leapp.start(str(out), max_cached_io=2)
    with torch.no_grad():
        trace()
    leapp.stop()
    configs = None if frequency is None else GraphConfigs(frequency=frequency)
    leapp.compile_graph(visualize=False, graph_configs=configs)
    return out


def write_a1(out: Path) -> Path:
    """As Isaac Lab's exporter describes a manager-based velocity task (its default backend, no rate)."""
    node, policy = "Isaac-Velocity-Flat-A1-v0", A1Policy()

    def told(name: str, value: torch.Tensor, kind: str, elements, source: str):
        return annotate.input_tensors(node, _named(name, value, kind, elements, isaaclab_connection=source))

    def trace() -> None:
        state = "state:robot:"
        gyro = told("robot_root_ang_vel_b", torch.zeros(1, 3), "state/body/angular_velocity", XYZ, state + "gyro_b")
        upright = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
        quaternion = told("robot_root_quat_w", upright, "state/body/rotation", QUATERNION, state + "root_quat_w")
        twist = ["lin_vel_x", "lin_vel_y", "ang_vel_z"]
        command = told("base_velocity", torch.zeros(1, 3), "command/body/velocity", twist, "command:base_velocity")
        position = told("robot_joint_pos", A1_REST.clone(), "state/joint/position", A1_JOINTS, state + "joint_pos")
        velocity = told("robot_joint_vel", torch.zeros(1, 12), "state/joint/velocity", A1_JOINTS, state + "joint_vel")
        last = annotate.state_tensors(node, {"last_action": torch.zeros(1, 12)})
        target, action = policy(gyro, quaternion, command, position, velocity, last)
        annotate.update_state(node, {"last_action": action})
        gains = [
            _named(f"joint_pos_{kind}_gains", torch.full((1, 12), gain), kind, A1_JOINTS)
            for kind, gain in (("kp", 20.0), ("kd", 0.5))
        ]
        outputs = [_named("joint_pos_target", target, "target/joint/position", A1_JOINTS)]
        annotate.output_tensors(node, outputs, static_outputs=gains, export_with="onnx-dynamo")

    return _compile(out, trace)


def write_cartpole(out: Path, *, beside: str | None = None) -> Path:
    """A recurrent policy, its hidden state fed back and not zero at first, through torch's older exporter.

    ``beside`` names one more output, of which nothing is told.
    """
    node, policy, joints = "cartpole", CartpolePolicy(), ["slider", "hinge"]

    def trace() -> None:
        position, velocity = annotate.input_tensors(
            node,
            [
                _named("joint_pos", torch.zeros(1, 2), "state/joint/position", joints),
                _named("joint_vel", torch.zeros(1, 2), "state/joint/velocity", joints),
            ],
        )
        hidden = annotate.state_tensors(node, {"actor_state": torch.full((1, 1, 6), 0.5)})
        force, following = policy(position, velocity, hidden)
        annotate.update_state(node, {"actor_state": following})
        effort = _named("joint_effort", force, "target/joint/effort", ["slider"], units="N")
        more = [] if beside is None else [_named(beside, 2.0 * force, None, None)]
        annotate.output_tensors(node, [effort, *more], export_with="onnx-torchscript")

    return _compile(out, trace, frequency=RATE_HZ)


@pytest.fixture(scope="session")
def a1_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Isaac Lab's way; not to be changed."""
    return write_a1(tmp_path_factory.mktemp("leapp") / "a1_flat")


@pytest.fixture(scope="session")
def cartpole_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recurrent one; not to be changed."""
    return write_cartpole(tmp_path_factory.mktemp("leapp") / "cartpole_rnn")


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Path, Callable[[dict[str, Any]], None]], Path]:
    """A copy of a package whose description was changed."""

    def change(package: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
        copy = Path(shutil.copytree(package, tmp_path / package.name))
        (path,) = copy.glob("*.yaml")
        body = yaml.safe_load(path.read_text())
        edit(body)
        path.write_text(yaml.safe_dump(body, sort_keys=False))
        return copy

    return change
