"""A node with a planner over real DDS: it plans, says so, gives up, and is asked again by an operator."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from agent_rig import CLEANUP, CONFIGURE, DEACTIVATE, PROMPT, AgentRig
from diagnostic_msgs.msg import DiagnosticArray
from mcap.reader import make_reader
from planned import with_planner
from std_srvs.srv import SetBool

from robot_wm.runtime.modes import Mode

# The machine is busy: what is tested here is not how fast it is. Every tick searches, every plan is waited for long.
PLANNED = PROMPT | {"planner": "dreamer", "planner_share": 1.0, "planner_reuse_ticks": 0, "deadline_miss_limit": 0}
LATE = {"planner_budget_ms": 1e-4, "planner_late_limit": 3}  # which no machine keeps


@pytest.fixture(scope="module")
def planned(make_bundle, tmp_path_factory):
    return with_planner(make_bundle("cartpole_balance"), tmp_path_factory.mktemp("planned") / "agent.rwm")


@pytest.fixture
def rig(domain, planned):
    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(AgentRig(planned, domain, namespace="", **(PLANNED | given)))


def listen(rig):
    """The agent's latest diagnostics, as they come: key -> value, and the message."""
    reports = []

    def hear(message):
        reports.extend(
            {entry.key: entry.value for entry in status.values} | {"message": status.message}
            for status in message.status
            if status.name == "agent"
        )

    rig.peer.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)
    return reports


def enable_planner(rig, on):
    answer = rig.call(SetBool, "agent/enable_planner", SetBool.Request(data=on))
    return answer.success, answer.message


def test_it_plans_tells_and_records(rig, tmp_path):
    rig = rig(record=str(tmp_path / "ticks"), planner_late_limit=1_000_000)
    reports = listen(rig)
    rig.drive()
    thinker = rig.agent.agent.controller.thinker
    rig.until(lambda: thinker.counts.searches > 20, "plans")
    rig.until(lambda: reports and int(reports[-1].get("planner_searches", 0)) > 20, "a report of them")
    report = reports[-1]
    assert report["planner"] == "halving of 4 x 5"
    assert float(report["planner_p50_us"]) > 0.0
    ticks = int(report["planner_ticks"])
    assert ticks >= int(report["planner_searches"]) + int(report["planner_hurried"]) + int(report["planner_refused"])
    assert enable_planner(rig, False) == (True, "the actor acts alone")
    searches = thinker.counts.searches
    rig.listen(0.3)
    assert thinker.counts.searches == searches
    rig.until(lambda: rig.agent.agent.controller.mode is Mode.ACTIVE, "the policy to drive, as it did")
    rig.until(lambda: reports[-1]["planner_on"] == "False", "a report that it is off")
    assert reports[-1]["planner_off_because"] == "turned off by an operator"
    assert "acts alone" not in reports[-1]["message"], "it was asked for"
    assert enable_planner(rig, True) == (True, "it plans again")
    rig.until(lambda: thinker.counts.searches > searches, "more plans")
    assert rig.change(DEACTIVATE, CLEANUP)
    (path,) = (tmp_path / "ticks").iterdir()
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    topics = {
        channel.topic: summary.statistics.channel_message_counts[key] for key, channel in summary.channels.items()
    }
    assert topics["/agent/plan"] == topics["/agent/tick"] > 20


def test_late_plans_cost_the_robot_nothing_but_the_planner(rig):
    rig = rig(**LATE)
    reports = listen(rig)
    rig.drive()
    thinker, ticker = rig.agent.agent.controller.thinker, rig.agent.agent.ticker
    rig.wait_for_line("the actor acts alone: 3 times in a row the planner had no plan")
    counts = thinker.counts
    assert (counts.planned, counts.switched_off) == (0, 1)
    assert counts.late + counts.refused + counts.hurried >= 3
    rig.until(lambda: reports and "~/enable_planner plans again" in reports[-1]["message"], "a warning")
    rig.until(lambda: rig.agent.agent.controller.mode is Mode.ACTIVE, "the policy to drive, as it did")
    assert "DEADLINE" not in reports[-1]["faults"]
    ticks = ticker.ticks
    rig.until(lambda: ticker.ticks > ticks + 20, "ticks")
    assert enable_planner(rig, True) == (True, "it plans again")
    rig.until(lambda: counts.switched_off == 2, "three more late plans")


def test_who_has_no_planner_says_so(rig):
    rig = rig(planner="none")
    assert enable_planner(rig, True) == (False, "the node is not configured")
    assert enable_planner(rig, False) == (True, "the node is not configured")
    assert rig.change(CONFIGURE)
    assert enable_planner(rig, True) == (False, "the node runs without a planner: parameter planner")


def test_a_planner_of_another_kind_is_one_line(rig):
    rig = rig(planner="muzero")
    assert not rig.change(CONFIGURE)
    rig.wait_for_line("is of kind dreamer: planner can be dreamer, auto or none, not muzero")
    assert rig.set(planner="auto") == ""
    assert rig.change(CONFIGURE)
    assert "planner can be changed only while the node is unconfigured" in rig.set(planner="none")
    assert rig.change(CLEANUP)
    assert "is not none, auto or a kind of agent" in rig.set(planner="Mu Zero")
