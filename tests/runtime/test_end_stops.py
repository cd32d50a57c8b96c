"""No velocity and no effort that drives a joint into the end of its range: closed forms, and a joint that obeys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.runtime.controller import Controller
from robot_wm.runtime.end_stops import SOFT_SHARE, STOP_S, EndStops, braking_speed
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.limits import command_limits
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, JointLimits, ObservationField

PERIOD_S = 0.02
SPEED, FORCE, END = 3.0, 10.0, 2.0  # of a joint of ±2 rad
AT_ONCE = SafetyConfig(soft_start_s=0.0, hold_s=0.1, recover_ticks=1)


def spec_of(mode, *, position=(-END, END), velocity=SPEED, rate=None, speeds=True, marked=True):
    roles = ("joint_position", "joint_velocity") if marked else (None, None)
    q = ObservationField(name="q", shape=(1,), unit="rad", labels=("a",), role=roles[0])
    dq = ObservationField(name="dq", shape=(1,), unit="rad/s", labels=("a",), role=roles[1])
    limits = JointLimits(position=position, velocity=velocity, effort=FORCE, rate=rate)
    unit, scale = {"velocity": ("rad/s", SPEED), "effort": ("N·m", FORCE)}[mode]
    return AgentSpec(
        task="t",
        robot="r",
        control_rate_hz=1 / PERIOD_S,
        physics_rate_hz=1 / PERIOD_S,
        observations=(q, dq) if speeds else (q,),
        action=ActionSpec(mode=mode, joints=("a",), unit=unit, scale=(scale,), limits=(limits,)),
        firmware=FirmwareProfile(name="p"),
    )


def bounds(spec, q, dq):
    limits = EndStops(spec, command_limits(spec)).limits(np.float32([q]), np.float32([dq]))
    return float(limits.low[0]), float(limits.high[0])


@given(st.floats(0, 10), st.floats(0.1, 100), st.floats(0.001, 0.1))
def test_one_more_period_and_then_braking_ends_just_at_the_stop(distance, deceleration, period_s):
    speed = float(braking_speed(np.float32([distance]), np.float32([deceleration]), period_s)[0])
    assert speed * period_s + speed**2 / (2 * deceleration) == pytest.approx(distance, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("beyond", [0.0, 0.1, 5.0])
@pytest.mark.parametrize(("mode", "largest"), [("velocity", SPEED), ("effort", FORCE)])
def test_at_an_end_and_beyond_nothing_drives_outward_and_everything_may_inward(mode, largest, beyond):
    spec = spec_of(mode)
    assert bounds(spec, END + beyond, 0.0) == (-largest, 0.0)
    assert bounds(spec, -END - beyond, 0.0) == (0.0, largest)
    assert bounds(spec, 0.0, 0.0) == (-largest, largest)


def test_an_effort_is_cut_in_proportion_to_the_speed_that_is_left():
    spec = spec_of("effort")
    deceleration, soft = SPEED / STOP_S, SOFT_SHARE * SPEED
    left = 0.2  # rad
    allowed = np.sqrt((deceleration * PERIOD_S) ** 2 + 2 * deceleration * left) - deceleration * PERIOD_S
    for share in (0.0, 0.25, 1.0):
        low, high = bounds(spec, END - left, allowed - share * soft)
        assert (low, high) == (-FORCE, pytest.approx(share * FORCE, abs=1e-4))
    assert bounds(spec, END - left, allowed + 0.1)[1] == 0.0  # too fast to stop: not a newton more
    assert bounds(spec, END - left, -SPEED) == (-FORCE, FORCE)  # it comes back from the end


@pytest.mark.parametrize("mode", ["velocity", "effort"])
def test_a_joint_without_ends_or_of_unknown_place_is_left_to_its_other_limits(mode):
    largest = {"velocity": SPEED, "effort": FORCE}[mode]
    assert bounds(spec_of(mode, position=None), 1e6, SPEED) == (-largest, largest)
    assert bounds(spec_of(mode), np.nan, np.nan) == (-largest, largest)
    assert bounds(spec_of(mode), END, np.nan) == (-largest, 0.0)


@given(st.floats(-END, END), st.lists(st.floats(-1, 1), min_size=5, max_size=60), st.none() | st.floats(1, 100))
def test_a_joint_that_does_as_it_is_told_never_leaves_its_range(start, wishes, rate):
    """Velocity mode, with the joint exactly as fast as its command, under any rate limit."""
    spec = spec_of("velocity", rate=rate)
    limits = command_limits(spec)
    ends = EndStops(spec, limits)
    q, last = start, 0.0
    for wish in [*wishes, *[1.0] * 200]:
        now = ends.limits(np.float32([q]), np.float32([last]))
        wanted = min(max(SPEED * wish, float(now.low[0])), float(now.high[0]))
        command = min(max(wanted, last - float(now.step[0])), last + float(now.step[0]))
        q, last = q + command * PERIOD_S, command
        assert abs(q) <= END + 1e-4
    assert q == pytest.approx(END, abs=0.01)  # and it gets there


class Outward:
    """An engine that asks for everything, always."""

    def __init__(self, engine):
        self._engine = engine

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def infer(self):
        self._engine.infer()
        self._engine.outputs["action"][0] = 1.0


@pytest.fixture
def drive(make_agent):
    """``drive(spec, positions)``: the commands of a controller that always wants outward, and its last tick."""

    def run(spec, positions, speed=0.0):
        agent = make_agent(spec)
        engine = Outward(Controller(agent).engine)
        with Controller(agent, engine=engine, config=AT_ONCE) as controller:
            controller.enable()
            commands = []
            for tick, q in enumerate(positions):
                frame = {"q": np.float32([q]), "dq": np.float32([speed])}
                command = controller.step({f.name: frame[f.name] for f in spec.observations}, tick * PERIOD_S)
                commands.append(float(command.command[0]))
            return commands, command

    return run


@pytest.mark.parametrize(("mode", "largest"), [("velocity", SPEED), ("effort", FORCE)])
def test_the_whole_controller_gives_nothing_outward_at_the_end(drive, mode, largest):
    assert drive(spec_of(mode), [0.0, 0.0])[0] == [largest, largest]
    commands, command = drive(spec_of(mode), [END, END + 0.01])
    assert (commands, command.mode, command.faults) == ([0.0, 0.0], Mode.ACTIVE, Fault.NONE)
    commands, command = drive(spec_of(mode), [END + 0.5])
    assert (commands, command.mode, command.faults) == ([0.0], Mode.HOLD, Fault.RANGE)


def test_without_a_field_of_speeds_positions_tell_them(drive):
    """At 2 rad/s and 0.1 rad from the end: v(0.1) = 1.23 rad/s at 10 rad/s²."""
    moving = [END - 0.18, END - 0.14, END - 0.1]
    assert drive(spec_of("effort", speeds=False), moving)[0][-1] == 0.0
    assert drive(spec_of("effort", speeds=False), [END - 0.1] * 3)[0][-1] == FORCE


def test_a_field_without_a_role_says_nothing_of_a_joint_whatever_its_labels(drive):
    assert drive(spec_of("effort", marked=False), [END + 5.0] * 2)[0] == [FORCE, FORCE]
