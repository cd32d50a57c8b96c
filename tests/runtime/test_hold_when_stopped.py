"""A robot that bears a load keeps its command when it is stopped, rather than follow itself down."""

import numpy as np
import pytest

from robot_wm.runtime.modes import Event, Mode
from robot_wm.runtime.safety import Safety, SafetyConfig
from robot_wm.spec import ActionSpec

FAULT = 1
POSITIONS = ActionSpec(mode="position", joints=("shoulder", "elbow"), unit="rad")


@pytest.mark.parametrize(("holds", "ends_at"), [(True, [0.5, -0.5]), (False, [0.1, -0.9])])
@pytest.mark.parametrize("stop", [Event.ESTOP, Event.DISABLE, None])
def test_a_stopped_arm_that_sinks_is_not_told_to(make_spec, holds, ends_at, stop):
    config = SafetyConfig(soft_start_s=0.0, hold_s=0.0, hold_when_stopped=holds)
    safety = Safety(make_spec(action=POSITIONS), config)
    target = np.float32([0.5, -0.5])
    safety.request(Event.ENABLE)
    safety.decide(target, 0, target)
    assert safety.mode is Mode.ACTIVE
    if stop is not None:
        safety.request(stop)
    for tick in range(1, 201):  # it sinks by 0.002 rad a tick
        command = safety.decide(None, FAULT if stop is None else 0, target - np.float32(0.002 * tick))
    assert safety.mode in (Mode.ESTOP, Mode.INACTIVE, Mode.DAMP)
    assert safety.damp
    np.testing.assert_allclose(command, ends_at, atol=1e-5)


def test_a_robot_that_nobody_has_driven_is_not_told_to_go_to_its_rest_pose(make_spec):
    safety = Safety(make_spec(action=POSITIONS), SafetyConfig(hold_when_stopped=True))
    measured = np.float32([0.7, 0.7])
    np.testing.assert_allclose(safety.decide(None, 0, measured), measured)
