"""The whole tick: what the model sees, what is written back, and no input or output that gets past safety."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robot_wm.errors import UserError
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.engine import EngineError
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.limits import command_limits
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.runtime.transform import scale, to_command
from robot_wm.spec import ActionSpec, JointLimits, ObservationField

PROMPT = SafetyConfig(soft_start_s=0.0, hold_s=0.04, recover_ticks=1)
PERIOD_S = 0.02


@pytest.fixture
def agent(make_agent, make_spec):
    """Position targets without a rate limit: command = offset + scale * clip * action = (.1, .8) + (1, -2) * action."""
    action = make_spec().action.model_copy(update={"limits": (JointLimits(position=(-0.8, 0.8)), JointLimits())})
    return make_agent(make_spec(action=action))


@pytest.fixture
def controller(agent):
    with Controller(agent, config=PROMPT) as controller:
        controller.enable()
        yield controller


def frame(q=(0.1, -0.2), gyro=(0.0, 0.0, 0.0)):
    return {"joint_position": np.float32(q), "gyro": np.float32(gyro)}


def test_the_model_sees_scaled_history_and_its_own_last_command(controller, agent):
    spec = agent.manifest.spec
    obs = controller.engine.inputs
    first = controller.step(frame(q=(0.2, 0.2)), 0.0).command.copy()
    q = spec.observations[0]
    np.testing.assert_array_equal(obs["obs/joint_position"][0], np.tile(scale(q, [0.2, 0.2]), 3))
    rest = to_command(spec.action, [0.0, 0.0])
    np.testing.assert_array_equal(obs["obs/last_action"][0], np.tile(rest, 3))
    # The env's own last_action would be another robot's word: it is not read.
    controller.step(frame(q=(0.4, 0.2)) | {"last_action": np.float32([9, 9])}, PERIOD_S)
    np.testing.assert_array_equal(obs["obs/last_action"][0], np.concatenate([rest, rest, first]))
    np.testing.assert_array_equal(obs["obs/joint_position"][0, 4:], scale(q, [0.4, 0.2]))
    controller.start_episode()  # training's episodes begin with the zero action as their last
    controller.step(frame(q=(0.4, 0.2)), 0.0)
    np.testing.assert_array_equal(obs["obs/last_action"][0], np.tile(rest, 3))


def test_the_executed_action_and_not_the_wish_goes_back_to_the_model(controller):
    """The graph's action is the scaled joint position: here (0.9, 0.25), so 1.0 rad of which 0.8 are allowed."""
    command = controller.step(frame(q=(0.55, 0.3)), 0.0)
    np.testing.assert_allclose(command.raw_action, [0.9, 0.25], rtol=1e-6)
    np.testing.assert_allclose(command.command, [0.8, 0.3], rtol=1e-6)
    np.testing.assert_allclose(command.action, [0.7, 0.25], rtol=1e-6)
    assert controller.step(frame(), PERIOD_S).surprise == pytest.approx(0.7 + 0.25, rel=1e-6)


def test_ticks_count_up_until_an_episode_starts(controller):
    values = []
    for tick in range(6):
        if tick == 4:
            controller.start_episode()
        values.append(controller.step(frame(), 0.0 if tick >= 4 else tick * PERIOD_S).value)
    assert values == [1, 2, 3, 4, 1, 2]


def test_after_a_tick_that_the_model_missed_it_starts_anew(controller):
    for tick in range(3):
        controller.step(frame(), tick * PERIOD_S)
    command = controller.step(frame(gyro=(0, np.nan, 0)), 3 * PERIOD_S)
    assert command.faults == Fault.NOT_FINITE
    assert command.mode is Mode.HOLD
    assert "gyro" in command.detail
    assert math.isnan(command.value)
    assert np.isnan(command.raw_action).all()
    command = controller.step(frame(), 4 * PERIOD_S)
    assert (command.value, command.detail, command.faults) == (1.0, "", Fault.NONE)


def test_stale_and_future_stamps_stop_the_policy(controller):
    stamps = {"joint_position": 0.0, "gyro": 0.0}
    assert controller.step(frame(), 0.0, stamps).faults == Fault.NONE
    assert controller.step(frame(), 0.06, stamps).faults == Fault.STALE  # gyro may be 0.05 s old
    assert controller.mode is Mode.HOLD


def test_a_fault_that_the_caller_found_stops_the_policy_and_is_told_before_the_others(controller):
    assert controller.step(frame(), 0.0).faults == Fault.NONE
    command = controller.step(frame(), PERIOD_S, faults=int(Fault.DEADLINE), why="3 ticks late")
    assert (command.faults, command.mode, command.detail) == (Fault.DEADLINE, Mode.HOLD, "3 ticks late")
    assert (command.infer_us, math.isnan(command.value)) == (0.0, True)
    stamps = {"joint_position": 0.07, "gyro": 0.02}  # gyro may be 0.05 s old
    command = controller.step(frame(), 4 * PERIOD_S, stamps, faults=int(Fault.DEADLINE), why="4 ticks late")
    assert command.faults == Fault.DEADLINE | Fault.STALE
    assert command.detail.startswith("4 ticks late; gyro: 0.06 s old")
    assert controller.step(frame(), 5 * PERIOD_S).faults == Fault.NONE


MOVED = (0.6, 0.1)  # where a damped arm sinks to, slowly enough to be believed


def damped(controller, faults, *, stamps=None):
    """Drive from (0.1, -0.2), damp upon lasting ``faults`` while the arm sinks to ``MOVED``; the next tick's number."""
    controller.step(frame(), 0.0)
    for tick in range(1, 20):
        q = np.float32(frame()["joint_position"]) + min(tick / 15, 1.0) * (np.float32(MOVED) - np.float32([0.1, -0.2]))
        controller.step(frame(q=q), tick * PERIOD_S, stamps, faults=int(faults), why="planted")
    assert controller.mode is Mode.DAMP
    return 20


@pytest.mark.parametrize("fault", [Fault.DEADLINE, Fault.STALLED])
def test_out_of_damp_the_command_starts_where_the_robot_is(controller, fault):
    """The fault latched all the while, so that no damped tick was a sound one; the joints' own field was."""
    tick = damped(controller, fault)
    assert controller.refusal() == ""
    assert controller.enable() is Mode.SOFT_START
    # Whatever is wrong with the next tick, it goes on where the arm is, not where it was a second ago.
    command = controller.step(frame(q=MOVED, gyro=(np.nan, 0, 0)), tick * PERIOD_S)
    assert (command.mode, command.damp) == (Mode.HOLD, True), "no brake is let go of before a sound tick"
    np.testing.assert_allclose(command.command, MOVED, atol=1e-6)


def test_while_damped_for_another_sensors_sake_the_command_follows_the_arm(controller):
    controller.step(frame(), 0.0)
    for tick in range(1, 10):
        command = controller.step(frame(q=(0.1 + 0.02 * tick, -0.2), gyro=(np.nan, 0, 0)), tick * PERIOD_S)
    assert command.mode is Mode.DAMP
    np.testing.assert_allclose(command.command, [0.28, -0.2], atol=1e-6)


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        ({"joint_position": None}, "MISSING_FIELD: joint_position: missing"),
        ({"joint_position": np.float32([np.nan, 0])}, "NOT_FINITE: joint_position: not finite"),
        ({"joint_position": np.float32([0.1, 1.9])}, "JUMP: joint_position: elbow jumped"),
        ({"joint_position": np.float32([1.9, 0.1])}, "JUMP RANGE: joint_position: shoulder jumped from 0.1 to 1.9"),
        ({"gyro": None}, "MISSING_FIELD: gyro: missing"),
    ],
)
def test_while_a_fault_stands_enable_is_refused_and_says_why(make_agent, make_spec, broken, name):
    with Controller(make_agent(make_spec()), config=PROMPT) as controller:
        controller.enable()
        for tick in range(6):
            command = controller.step(frame() | (broken if tick > 1 else {}), tick * PERIOD_S)
        assert command.mode is Mode.DAMP
        assert controller.refusal().startswith(name)
        assert controller.enable() is Mode.DAMP
        command = controller.step(frame() | broken, 6 * PERIOD_S)
        assert (command.mode, command.damp) == (Mode.DAMP, True)
        for tick in range(7, 30):
            controller.step(frame(), tick * PERIOD_S)
        assert controller.refusal() == ""
        assert controller.enable() is Mode.SOFT_START


@pytest.mark.parametrize("mode", [Mode.DAMP, Mode.INACTIVE])
def test_enabled_on_sensors_that_died_since_the_robot_stays_damped(controller, mode):
    tick = damped(controller, Fault.DEADLINE)
    if mode is Mode.INACTIVE:
        controller.disable()
    assert controller.enable() is Mode.SOFT_START
    for late in range(5):
        # The stamps may come from a clock that stands still: the caller knows of the silence.
        command = controller.step(frame(q=MOVED), (tick + late) * PERIOD_S, faults=int(Fault.STALE), why="silence")
        assert command.damp
    assert command.mode is Mode.DAMP


def test_ticks_that_were_missed_count_as_faulty_ones(agent):
    """hold_s is 2 ticks: 2 faulty ones hold, a third damps."""
    for missed, mode in ((0, Mode.HOLD), (1, Mode.HOLD), (2, Mode.DAMP)):
        with Controller(agent, config=PROMPT) as controller:
            controller.enable()
            before = controller.step(frame(), 0.0)
            assert before.value == 1.0
            command = controller.step(
                frame(), 1.0, faults=int(Fault.STALLED), why="it stood still", missed_ticks=missed
            )
            assert (command.mode, command.detail) == (mode, "it stood still")
            assert math.isnan(command.value)
            assert controller.step(frame(), 1.02).value == 1.0  # the model begins anew


def test_nothing_is_asked_of_the_engine_before_enable_and_after_estop(controller):
    controller.disable()
    assert math.isnan(controller.step(frame(), 0.0).value)
    controller.enable()
    assert controller.step(frame(), PERIOD_S).value == 1.0
    controller.estop()
    command = controller.step(frame(), 2 * PERIOD_S)
    assert (command.mode, command.damp, command.infer_us) == (Mode.ESTOP, True, 0.0)
    assert controller.enable() is Mode.ESTOP
    assert controller.reset() is Mode.INACTIVE
    assert controller.enable() is Mode.SOFT_START


def test_surprise_holds_while_it_lasts_and_the_model_goes_on(agent):
    """The stand-in's surprise is the action executed a tick ago: 0.7 here, also while that position is held."""
    config = SafetyConfig(soft_start_s=0, hold_s=0.06, recover_ticks=1, surprise_limit=0.6, surprise_ticks=2)
    with Controller(agent, config=config) as controller:
        controller.enable()
        seen = []
        for tick in range(7):
            command = controller.step(frame(q=(0.55, -0.2)), tick * PERIOD_S)
            seen.append((command.value, command.faults is Fault.SURPRISE, command.mode.value))
    assert seen == [
        (1, False, "active"),
        (2, False, "active"),
        (3, True, "hold"),
        (4, True, "hold"),
        (5, True, "hold"),
        (6, True, "damp"),
        (7, True, "damp"),
    ]


def test_noise_is_drawn_only_when_asked(agent):
    with Controller(agent, config=PROMPT, noise_seed=1) as sampled, Controller(agent, config=PROMPT) as greedy:
        for controller in (sampled, greedy):
            controller.enable()
        drawn = [sampled.step(frame(), t * PERIOD_S).raw_action.copy() for t in range(3)]
        assert len({action[0] for action in drawn}) == 3
        for tick in range(3):
            np.testing.assert_allclose(greedy.step(frame(), tick * PERIOD_S).raw_action, [0, 0], atol=1e-7)


def test_every_tick_is_timed_and_late_ones_counted(agent):
    config = SafetyConfig(soft_start_s=0, deadline_s=1e-9)
    with Controller(agent, config=config) as controller:
        controller.enable()
        for tick in range(5):
            command = controller.step(frame(), tick * PERIOD_S)
            assert 0 < command.observe_us + command.infer_us <= command.total_us
        summary = controller.latency.summary()
    assert (summary.count, summary.deadline_misses) == (5, 5)


def test_a_command_is_filled_anew_and_its_observation_is_not_kept(controller):
    observation = frame(q=(0.2, 0.2))
    command = controller.step(observation, 0.0)
    observation["joint_position"][:] = np.nan
    assert controller.step(frame(), PERIOD_S) is command
    assert command.tick == 2


def test_an_engine_of_another_agent_is_refused(agent, make_agent, make_spec):
    other = make_agent(make_spec(history_length=2))
    controller = Controller(agent, engine=OnnxEngine(other.read(), other.manifest.state))
    with pytest.raises(UserError, match=r"obs/gyro has shape \(1, 6\), not \(1, 9\)"):
        controller.activate()
    with pytest.raises(RuntimeError, match="activate"):
        controller.step(frame(), 0.0)


def test_a_camera_goes_in_untouched(make_agent, make_spec):
    camera = ObservationField(name="camera", shape=(4, 4, 3), dtype="uint8", unit="1")
    agent = make_agent(make_spec(observations=(*make_spec().observations, camera)))
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    with Controller(agent, config=PROMPT) as controller:
        controller.enable()
        assert controller.step(frame() | {"camera": image}, 0.0).faults == Fault.NONE
        np.testing.assert_array_equal(controller.engine.inputs["obs/camera"][0], image)


class PlantedEngine:
    """An engine that puts out whatever it is told: the broken graph, the wrong build, the bit that flipped."""

    def __init__(self, engine):
        self._engine = engine
        self.planted = None

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def infer(self):
        self._engine.infer()
        if self.planted == "raise":
            raise EngineError("planted")
        if self.planted is not None:
            action, value, surprise = self.planted
            self._engine.outputs["action"][0] = action
            self._engine.outputs["value"][0] = value
            self._engine.outputs["surprise"][0] = surprise


@pytest.mark.parametrize(
    ("planted", "fault"),
    [
        ("raise", Fault.ENGINE),
        (([0, np.nan], 0, 0), Fault.OUTPUT_NOT_FINITE),
        (([0, -np.inf], 0, 0), Fault.OUTPUT_NOT_FINITE),
        (([0, 0], np.nan, 0), Fault.OUTPUT_NOT_FINITE),
        (([0, 0], 0, np.inf), Fault.OUTPUT_NOT_FINITE),
    ],
)
def test_a_broken_engine_holds_and_its_state_is_thrown_away(agent, planted, fault):
    engine = PlantedEngine(OnnxEngine(agent.read(), agent.manifest.state))
    with Controller(agent, engine=engine, config=PROMPT) as controller:
        controller.enable()
        held = controller.step(frame(q=(0.3, 0.2)), 0.0).command.copy()
        engine.planted = planted
        engine.write_state("deter", np.full((1, 4), np.nan, np.float32))
        command = controller.step(frame(), PERIOD_S)
        assert (command.faults, command.mode) == (fault, Mode.HOLD)
        np.testing.assert_array_equal(command.command, held)
        engine.planted = None
        assert controller.step(frame(), 2 * PERIOD_S).value == 1.0


ANY = st.floats(width=32)
FRAMES = st.fixed_dictionaries(
    {},
    optional={
        "joint_position": hnp.arrays(
            st.sampled_from([np.float32, np.float64, np.int32, np.dtype(object), np.complex64]), st.sampled_from([2, 3])
        ),
        "gyro": hnp.arrays(np.float32, 3, elements=st.floats(-1, 1, width=32)) | st.none() | st.text(max_size=2),
    },
)
SOUND = st.builds(lambda q: frame(q=q), st.tuples(st.floats(-3, 3), st.floats(-3, 3)))
STAMPS = st.none() | st.dictionaries(st.sampled_from(["joint_position", "gyro"]), st.floats(), max_size=2)
OUTPUTS = st.none() | st.just("raise") | st.tuples(hnp.arrays(np.float32, 2, elements=ANY), ANY, ANY)
REQUESTS = st.sampled_from(["none", "none", "none", "enable", "disable", "estop", "reset"])
LIMITED = (JointLimits(position=(-0.8, 0.8), velocity=5.0, effort=3.0, rate=9.0), JointLimits(velocity=2.0))
ACTIONS = [
    ActionSpec(mode=mode, joints=("shoulder", "elbow"), unit="rad", scale=(0.5, -2.0), offset=(0.1, 0.2), limits=limits)
    for mode in ("position", "velocity", "effort")
    for limits in ((), LIMITED)
]


def largest_change(action):
    """What the spec itself allows in one tick, [A] in double precision; the filter keeps a hair's breadth less."""
    rates = [(limits.rate, limits.velocity if action.mode == "position" else None) for limits in action.limits]
    return np.array([min([rate for rate in pair if rate is not None], default=np.inf) * PERIOD_S for pair in rates])


@given(
    st.sampled_from(ACTIONS),
    st.lists(st.tuples(SOUND | FRAMES, st.floats() | st.floats(0, 1), STAMPS, OUTPUTS, REQUESTS), max_size=25),
)
def test_no_input_and_no_output_whatever_gets_past_the_limits(make_agent, make_spec, action, ticks):
    agent = make_agent(make_spec(action=action))
    limits = command_limits(agent.manifest.spec)
    engine = PlantedEngine(OnnxEngine(agent.read(), agent.manifest.state))
    with Controller(agent, engine=engine, config=PROMPT) as controller:
        controller.enable()
        last = None
        for observation, now, stamps, planted, request in ticks:
            engine.planted = planted
            if request != "none":
                getattr(controller, request)()
            command = controller.step(observation, now, stamps)
            value = command.command.astype(float)
            assert np.isfinite(value).all()
            assert (limits.low <= value).all()
            assert (value <= limits.high).all()
            assert (np.abs(command.action) <= 1).all()
            if last is not None and not command.damp and not last[1]:
                assert (np.abs(value - last[0]) <= (largest_change(action) if action.limits else np.inf)).all()
            last = value.copy(), command.damp
