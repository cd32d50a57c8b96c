"""Dynamics as a value: what it takes, and the line with which it refuses the rest."""

import math
import pickle

import pytest

from robot_wm.errors import UserError
from robot_wm_sim.dynamics import Dynamics


def test_values_are_floats_and_mappings_its_own():
    scales = {"trunk": 2}
    dynamics = Dynamics(friction=1, gravity=[0, 0, -9], mass_scale=scales, com_offset={"trunk": [0, 1, 2]})
    scales["trunk"] = 3
    assert dynamics.mass_scale == {"trunk": 2.0}
    assert dynamics == Dynamics(
        friction=1.0, gravity=(0.0, 0.0, -9.0), mass_scale={"trunk": 2.0}, com_offset={"trunk": (0.0, 1.0, 2.0)}
    )
    assert isinstance(dynamics.friction, float)
    assert pickle.loads(pickle.dumps(dynamics)) == dynamics  # so that another process can be sent it


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"friction": -0.1}, "dynamics: friction is -0.1, 1, but must be finite and at least 0"),
        ({"friction": True}, "dynamics: friction is True, 1, but must be finite and at least 0"),
        ({"gravity": 9.81}, "dynamics: gravity is 9.81, but must be three numbers, m/s²"),
        ({"gravity": (0.0, 0.0, math.nan)}, "dynamics: gravity is nan, m/s², but must be finite"),
        ({"mass_scale": {"a": 0.0}}, "dynamics: mass_scale of a is 0.0, 1, but must be finite and at least 0.001"),
        ({"com_offset": {"a": (1.0, 2.0)}}, r"dynamics: com_offset of a is \(1.0, 2.0\), but must be three numbers, m"),
        (
            {"joint_damping": {"j": -1.0}},
            "dynamics: joint_damping of j is -1.0, N·m·s/rad or N·s/m, but must be finite and at least 0",
        ),
        (
            {"joint_friction": {"j": "much"}},
            "dynamics: joint_friction of j is 'much', N·m or N, but must be finite and at least 0",
        ),
        (
            {"armature": {"j": math.inf}},
            "dynamics: armature of j is inf, kg·m² or kg, but must be finite and at least 0",
        ),
    ],
)
def test_a_value_that_physics_does_not_have_is_named(fields, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        Dynamics(**fields)
