"""A controller with a planner: the policy first, the plan if it is there, and nothing of it that could stop a tick."""

from __future__ import annotations

import math
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
from planned import lost, planner_graph, planner_section, with_planner

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.bundle_graph import planner_graph as planner_graph_of
from robot_wm.runtime.bundle_graph import tick_graph
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.planning.config import PlanningConfig
from robot_wm.runtime.planning.planner import Planner
from robot_wm.runtime.planning.request import PlannerRequest
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.runtime.signature import load_private_key
from robot_wm.runtime.start import start_controller
from robot_wm.runtime.trt.provide import Provided

PERIOD_S = 0.02
PATIENT = {"patient": True, "blend_ticks": 0}  # the machine's speed decides nothing here
PROMPT = SafetyConfig(soft_start_s=0.0)


def frame(q=(0.1, 0.8), gyro=(0.0, 0.0, 0.0)):
    return {"joint_position": np.float32(q), "gyro": np.float32(gyro)}


@pytest.fixture
def make_controller(make_agent, make_spec):
    """``make_controller(**knobs)``: an arm's active and enabled controller, whose planner says 0.01 times ticks since
    is_first, for the tick and the four after it.
    """
    made = []

    def make(agent=None, planner=None, **knobs) -> Controller:
        agent = agent or make_agent(make_spec())
        manifest = agent.manifest
        planner = planner or Planner(OnnxEngine(planner_graph(manifest), ()), planner_section(manifest))
        planning = PlanningConfig(**(PATIENT | knobs))
        controller = Controller(agent, config=PROMPT, planner=planner, planning=planning)
        made.append(controller)
        controller.activate()
        controller.enable()
        return controller

    yield make
    for controller in made:
        controller.deactivate()


def drive(controller, ticks: int, first: int = 0):
    """Commands of ticks, copied."""
    told = []
    for tick in range(first, first + ticks):
        command = controller.step(frame(), tick * PERIOD_S)
        told.append((command.plan.source.value, command.plan.age, command.action.copy(), command.raw_action.copy()))
    return told


def test_plans_are_made_and_used_to_their_end(make_controller):
    """Tick 0 is a soft start of no length, in which nothing is planned yet."""
    controller = make_controller()
    told = drive(controller, 12)
    assert [(source, age) for source, age, _, _ in told] == [("actor", -1)] + [
        ("planned", 0), ("reused", 1), ("reused", 2), ("reused", 3), ("reused", 4),
    ] * 2 + [("planned", 0)]  # fmt: skip
    for number, (_, age, action, wish) in enumerate(told[1:], 1):
        np.testing.assert_allclose(action, 0.01 * (number - age + 1), rtol=1e-5)
        np.testing.assert_allclose(wish, told[0][3], err_msg="the policy's own wish is told as ever")
    noise = controller._planner.engine.inputs
    assert noise["noise/plan"].all()
    assert noise["noise/root"].all(), "discrete candidates are drawn by Gumbel noise"
    command = controller._command
    assert (command.plan.gain, command.plan.value) == (1.0, 12.0)
    assert 0.0 < command.plan.plan_us <= command.plan_us <= command.total_us
    assert controller.latency.count == 12


def test_without_waiting_the_actor_acts_at_once_and_the_plan_from_the_next_tick_on(make_controller):
    controller = make_controller(patient=False, waits=False, budget_s=10.0, reuse_tolerance=2.0)
    used = []
    for tick in range(7):
        (told,) = drive(controller, 1, tick)
        used.append(told[:2])
        end_s = time.monotonic() + 10.0  # the machine's speed decides nothing
        while controller._planner.is_busy and time.monotonic() < end_s:
            time.sleep(0.001)
    asking = ("actor", -1)  # at tick 1 and 6; tick 0 is a soft start of no length
    assert used == [("actor", -1), asking, ("planned", 1), *[("reused", age) for age in (2, 3, 4)], asking]


def test_the_model_hears_what_was_executed(make_controller):
    """The stand-in's surprise is the sum of what it was told: the planner's 2 x 0.02, not the policy's wish."""
    controller = make_controller(surprise_limit=math.inf)
    drive(controller, 2)
    assert controller.step(frame(), 2 * PERIOD_S).surprise == pytest.approx(0.04, rel=1e-5)


def test_without_a_planner_nothing_is_told(make_agent, make_spec):
    with Controller(make_agent(make_spec()), config=PROMPT) as controller:
        controller.enable()
        command = controller.step(frame(), 0.0)
        assert (command.plan, controller.thinker) == (None, None)


def test_while_nothing_drives_nothing_is_planned(make_controller):
    controller = make_controller()
    drive(controller, 3)
    command = controller.step(frame(gyro=(np.nan, 0, 0)), 3 * PERIOD_S)
    assert (command.faults, command.mode) == (Fault.NOT_FINITE, Mode.HOLD)
    assert command.plan.source.value == "actor"
    searches = controller.thinker.counts.searches
    assert {source for source, *_ in drive(controller, 3, first=4)} == {"actor"}
    assert controller.thinker.counts.searches == searches
    controller.disable()
    assert {source for source, *_ in drive(controller, 3, first=7)} == {"actor"}
    assert controller.thinker.counts.ticks == 2


def test_an_episode_begins_with_a_plan_of_its_own(make_controller):
    controller = make_controller(share=1.0)
    drive(controller, 3)
    controller.start_episode()
    (source, age, action, _), *_ = drive(controller, 1, first=0)
    assert (source, age) == ("planned", 0)
    np.testing.assert_allclose(action, 0.01, rtol=1e-5)


class Dies(OnnxEngine):
    """Plans so often, the first of which is the warm-up, and then only raises."""

    left = 3

    def infer(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("the planner's engine is dead")
        super().infer()


def test_a_planner_that_dies_does_not_stop_the_policy(make_agent, make_spec, make_controller):
    agent = make_agent(make_spec())
    planner = Planner(Dies(planner_graph(agent.manifest), ()), planner_section(agent.manifest))
    controller = make_controller(agent, planner, share=1.0, burst=50, max_age=0, late_limit=4)
    sources = [source for source, *_ in drive(controller, 12)]
    assert sources == ["actor", "planned", "planned"] + ["actor"] * 9
    command = controller._command
    assert (command.mode, command.faults) == (Mode.ACTIVE, Fault.NONE)
    np.testing.assert_allclose(command.action, command.raw_action, rtol=1e-5)
    counts = controller.thinker.counts
    assert (counts.broken, counts.switched_off, counts.searches) == (4, 1, 6)
    assert "the planner's engine is dead" in command.plan.why


def test_a_late_plan_is_no_missed_deadline_and_no_fault(make_agent, make_spec, make_controller):
    """With a budget that no machine keeps."""
    controller = make_controller(patient=False, budget_s=1e-9, share=1.0, burst=50, late_limit=3)
    assert [source for source, *_ in drive(controller, 9)][1] == "late"
    command, counts = controller._command, controller.thinker.counts
    assert (command.mode, command.faults, controller.latency.deadline_misses) == (Mode.ACTIVE, Fault.NONE, 0)
    assert counts.late + counts.refused == 3
    assert counts.switched_off == 1
    np.testing.assert_allclose(command.action, command.raw_action, rtol=1e-5)


def test_the_deadline_counts_from_when_the_frame_came(make_controller):
    """A frame that waited for longer than a tick may take is answered by the actor, at once."""
    controller = make_controller(patient=False, share=1.0)
    drive(controller, 1)
    controller.step(frame(), PERIOD_S, received_s=-1e6)
    assert (controller.thinker.counts.hurried, controller.thinker.counts.searches) == (1, 0)
    controller.step(frame(), 2 * PERIOD_S, received_s=math.inf)
    assert controller.thinker.counts.searches == 1


def test_everything_is_given_back(make_controller):
    controller = make_controller()
    planner = controller._planner
    assert planner.thread_id > 0
    controller.deactivate()
    assert (planner.thread_id, len(planner.engine.outputs)) == (0, 0)


def test_a_policy_that_does_not_fit_takes_the_planner_with_it(make_agent, make_spec):
    agent, other = make_agent(make_spec()), make_agent(make_spec(history_length=2))
    planner = Planner(OnnxEngine(planner_graph(agent.manifest), ()), planner_section(agent.manifest))
    controller = Controller(agent, engine=OnnxEngine(other.read(), other.manifest.state), planner=planner)
    with pytest.raises(UserError, match="does not fit the manifest"):
        controller.activate()
    assert len(planner.engine.outputs) == 0


# -- from a bundle -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planned_original(signed_original, tmp_path_factory):
    """Of a signed bundle whose planner pays, and one whose does not: paths and the key."""
    folder = tmp_path_factory.mktemp("planned")
    key = load_private_key(signed_original.private_key)
    good = with_planner(signed_original.folder, folder / "good.rwm", sign_key=key)
    bad = with_planner(
        signed_original.folder, folder / "bad.rwm", sign_key=key, gate=lost(), kind="tree", simulations=16
    )
    return good, bad, signed_original.public_key


@pytest.fixture
def open_planner(planned_original, signed_original):
    """``open_planner(which, **request)``: the planner of good, bad or no planner, and what was told."""
    good, bad, key = planned_original
    paths = {"good": good, "bad": bad, "none": signed_original.folder}
    told: list[str] = []

    def open_it(which: str, **request) -> tuple[Planner | None, list[str]]:
        with Bundle.open(paths[which], key) as bundle:
            planner = PlannerRequest(**request).open(bundle, tell=told.append)
            if planner is not None:
                planner.close()
            return planner, told

    return open_it


@pytest.mark.parametrize(
    ("which", "request_", "line"),
    [
        ("good", {"name": "none"}, None),
        ("good", {"name": "auto"}, "halving planner of 4 x 5: 256 recorded plans"),
        ("good", {"name": "dreamer"}, "halving planner of 4 x 5"),
        ("bad", {"name": "auto"}, "has a planner that did not pay, the actor acts alone"),
        ("bad", {"name": "auto", "forced": True}, "tree planner of 4 x 5"),
        ("bad", {"name": "dreamer", "forced": True, "simulations": 16}, "tree planner of 4 x 5"),
        ("none", {"name": "auto"}, "has no planner, the actor acts alone"),
    ],
)
def test_who_asks_for_a_planner_gets_it(open_planner, which, request_, line):
    planner, told = open_planner(which, **request_)
    assert (planner is not None) == (line is not None and "planner of" in line)
    assert [line in entry for entry in told] == ([] if line is None else [True])


@pytest.mark.parametrize(
    ("which", "request_", "naming"),
    [
        ("good", {"name": "muzero"}, "is of kind dreamer: planner can be dreamer, auto or none, not muzero"),
        ("none", {"name": "dreamer"}, "no planner"),
        ("bad", {"name": "dreamer"}, "does not pay"),
        ("good", {"name": "dreamer", "simulations": 16}, "a halving of 4 x 5, which has no simulations: planner_simul"),
        ("bad", {"name": "auto", "forced": True, "simulations": 32}, "exported with 16 simulations, not 32"),
        ("good", {"name": "auto", "config": PlanningConfig(budget_s=0.021)}, "21 exceeds the control period of 20 ms"),
    ],
)
def test_or_is_told_why_not(open_planner, which, request_, naming):
    with pytest.raises(UserError, match=naming):
        open_planner(which, **request_)
    with pytest.raises(UserError, match="planner_simulations must be at least 0"):
        PlannerRequest(simulations=-1)


def test_plans_of_one_action_must_be_waited_for():
    section = SimpleNamespace(depth=1, simulations=None)
    bundle = SimpleNamespace(path="short.rwm", manifest=SimpleNamespace(planner=section, kind="dreamer"))
    request = PlannerRequest("dreamer", config=PlanningConfig(waits=False))
    with pytest.raises(UserError, match=r"^short.rwm: its plans have one action.* planner_waits must be true"):
        request.open(bundle)


def test_a_bundle_starts_with_its_planner(planned_original):
    good, _, key = planned_original
    with Bundle.open(good, key) as bundle:
        planner = PlannerRequest("dreamer").open(bundle)
        with start_controller(bundle, config=PROMPT, planner=planner, planning=PlanningConfig(**PATIENT)) as controller:
            controller.enable()
            assert [source for source, *_ in drive(controller, 3)] == ["actor", "planned", "reused"]
        assert len(planner.engine.outputs) == 0


def test_a_start_that_fails_closes_the_planner(planned_original, make_agent, make_spec):
    good, _, key = planned_original
    other = make_agent(make_spec(history_length=2))
    with Bundle.open(good, key) as bundle:
        planner = PlannerRequest("dreamer").open(bundle)
        with pytest.raises(UserError):
            start_controller(bundle, engine=OnnxEngine(other.read(), other.manifest.state), planner=planner)
        assert len(planner.engine.outputs) == 0


def test_another_planner_than_the_exported_one_is_refused(planned_original, tmp_path):
    """Its file is what was signed, but the recording says that something else was planned."""
    good, _, key = planned_original
    copy = tmp_path / "copy.rwm"
    shutil.copytree(good, copy)
    with Bundle.open(copy, key) as bundle:
        manifest = bundle.manifest
        bundle.read = lambda name="", read=bundle.read: (
            planner_graph(manifest, scale=0.011) if name == manifest.planner.graph else read(name)
        )
        with pytest.raises(UserError, match="does not compute the planner that was exported"):
            PlannerRequest("dreamer").open(bundle)


def test_a_gpu_computes_the_policy_before_the_planner(planned_original):
    good, _, key = planned_original
    with Bundle.open(good, key) as bundle:
        graphs = tick_graph(bundle.manifest), planner_graph_of(bundle.manifest)
    told = SimpleNamespace(digest="0" * 64)
    engines = [Provided(b"", graph, told, is_new=False, host_code=False).engine() for graph in graphs]
    assert [engine._background for engine in engines] == [False, True]
