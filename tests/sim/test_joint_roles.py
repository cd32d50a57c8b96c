"""Every task says which of its fields tell the commanded joints' positions and speeds, and says it truly."""

from __future__ import annotations

import numpy as np
import pytest

from robot_wm.runtime.joints import JointReadings
from robot_wm.tasks import agent_spec, make_env

ROLES = {
    "a1_stand": ("joint_position", "joint_velocity"),
    "a1_velocity": ("joint_position", "joint_velocity"),
    "cartpole_balance": ("cart_position", "cart_velocity"),
    "cartpole_swingup": ("cart_position", "cart_velocity"),
    "panda_reach": ("joint_position", "joint_velocity"),
    "racecar_goal": ("steering_angle", "wheel_speed"),
}


@pytest.mark.parametrize("task", ROLES)
def test_a_task_marks_its_joint_fields(task):
    env = make_env(task, seed=1, **({"observation": "proprio"} if task == "racecar_goal" else {}))
    try:
        spec = agent_spec(env)
        observation, _ = env.reset()
    finally:
        env.close()
    marked = {field.role.value: field.name for field in spec.observations if field.role is not None}
    assert marked == dict(zip(("joint_position", "joint_velocity"), ROLES[task], strict=True))
    flat = np.concatenate([observation[field.name] for field in spec.observations if not field.is_image])
    readings = JointReadings(spec, flat.astype(np.float32))
    readings.take(0.0)
    told = observation[marked["joint_position"]]
    np.testing.assert_allclose(readings.position[~np.isnan(readings.position)], told, rtol=1e-6)
