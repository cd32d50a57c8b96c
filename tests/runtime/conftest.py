"""Specs that the runtime's tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, JointLimits, ObservationField

SpecMaker = Callable[..., AgentSpec]


@pytest.fixture
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
                    name="joint_position", shape=(2,), unit="rad", offset=(0.1, -0.2), scale=(2.0, 0.5), clip=3.0
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
