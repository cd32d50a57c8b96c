from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from robot_wm.cli import run
from robot_wm.replay.episode import Episode, EpisodeSource
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, ObservationField


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., AgentSpec]:
    """A spec whose field ``mark`` carries (stream, step), so that every row says where it came from."""

    def make(*, history: int = 1, discrete: bool = False, image: bool = False, robot: str = "toy") -> AgentSpec:
        fields = [
            ObservationField(name="mark", shape=(2,), unit="1"),
            ObservationField(name="angle", shape=(3,), unit="rad", offset=(1.0,), scale=(0.5, 0.25, 2.0), clip=4.0),
        ]
        if image:
            fields.append(ObservationField(name="camera", shape=(4, 5, 3), dtype="uint8", unit="1"))
        action = (
            ActionSpec(mode="discrete", joints=("left", "stay", "right"), unit="1")
            if discrete
            else ActionSpec(
                mode="position", joints=("hip", "knee"), unit="rad", scale=(2.0**22, 0.25), offset=(0.0, 0.5)
            )
        )
        return AgentSpec(
            task="toy_task",
            robot=robot,
            control_rate_hz=50,
            physics_rate_hz=500,
            history_length=history,
            observations=tuple(fields),
            action=action,
            firmware=FirmwareProfile(name="toy"),
        )

    return make


@pytest.fixture(scope="session")
def make_episode() -> Callable[..., Episode]:
    """An episode in which ``mark`` is (number, step) and action and reward say the same again."""

    def make(
        spec: AgentSpec, *, number: int = 0, steps: int = 10, terminal: bool = False, policy: str = "random"
    ) -> Episode:
        rng = np.random.default_rng([number, steps])
        step = np.arange(steps)
        obs: dict[str, np.ndarray] = {}
        for field in spec.observations:
            if field.is_image:
                obs[field.name] = rng.integers(0, 256, (steps, *field.shape), dtype=np.uint8)
            elif field.name == "mark":
                obs[field.name] = np.stack([np.full(steps, number), step], axis=1).astype(np.float32)
            else:
                obs[field.name] = rng.normal(0, 4, (steps, *field.shape)).astype(np.float32)
        if spec.action.is_discrete:
            action = np.eye(spec.action_dim, dtype=np.float32)[(number + step) % spec.action_dim]
        else:  # SI value number * 1000 + step of the first joint; the second is at its offset
            action = np.stack([number * 1000.0 + step, np.full(steps, 0.5)], axis=1).astype(np.float32)
        action[-1] = 0
        return Episode(
            obs=obs,
            action=action,
            reward=(step * 0.5).astype(np.float32),
            reward_known=step >= 0,
            is_first=step == 0,
            is_last=step == steps - 1,
            is_terminal=(step == steps - 1) & terminal,
            source=EpisodeSource(
                kind="sim", task=spec.task, robot=spec.robot, seed=number, backend="pybullet", policy=policy
            ),
        )

    return make


@pytest.fixture
def replay(capsys):
    """Run `robot-wm replay …`: exit code, the JSON on stdout (or None) and stderr."""

    def call(*arguments):
        code = run(["replay", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out.startswith("{") else None, err

    return call
