"""A node's parameters choose the planner, or say in one line why there is none; and what it tells of it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from planned import lost, with_planner

from robot_wm.errors import UserError
from robot_wm.runtime.planning.config import PlanningConfig
from robot_wm.runtime.planning.request import PlannerRequest
from robot_wm_ros import loading, parameters
from robot_wm_ros.parameters import AgentParameters


def given(**values) -> AgentParameters:
    return AgentParameters.of(parameters._DEFAULTS | values)


@pytest.fixture(scope="module")
def planned(make_bundle, tmp_path_factory) -> dict[str, Path]:
    """Bundles of one agent: without a planner, with one that pays, and with one that does not."""
    folder, plain = tmp_path_factory.mktemp("planned"), make_bundle("cartpole_balance")
    return {
        "plain": plain,
        "good": with_planner(plain, folder / "good.rwm"),
        "bad": with_planner(plain, folder / "bad.rwm", gate=lost()),
    }


@pytest.fixture
def load(planned):
    """``load(which, **parameters)``: a loaded agent's controller, and what was told."""
    told: list[str] = []
    with ExitStack() as undo:

        def load_it(which: str, **values):
            chosen = given(bundle=str(planned[which]), allow_unsigned=True, **values)
            return loading.load_agent(chosen, undo, told.append).controller, told

        yield load_it


def test_by_default_nobody_plans():
    assert given().planner == PlannerRequest("none", config=PlanningConfig())


def test_every_parameter_reaches_its_knob():
    request = given(
        planner="muzero",
        planner_force=True,
        planner_budget_ms=4.0,
        planner_margin_ms=1.5,
        planner_waits=False,
        planner_simulations=16,
        planner_share=0.5,
        planner_gain_limit=0.25,
        planner_reuse_ticks=3,
        planner_surprise_limit=7.0,
        planner_late_limit=9,
        planner_blend_ticks=0,
    ).planner
    assert (request.name, request.forced, request.simulations) == ("muzero", True, 16)
    config = request.config
    assert (config.budget_s, config.margin_s) == (pytest.approx(0.004), pytest.approx(0.0015))
    assert (config.waits, config.share, config.gain_limit, config.max_age) == (False, 0.5, 0.25, 3)
    assert (config.surprise_limit, config.late_limit, config.blend_ticks) == (7.0, 9, 0)
    assert given(planner_reuse_ticks=0).planner.config.max_age == 0


@pytest.mark.parametrize("name", ["", "MuZero", "../planner", "none ", "1"])
def test_a_planner_has_a_kinds_name(name):
    with pytest.raises(UserError, match=r"parameter planner: .* is not none, auto or a kind of agent"):
        given(planner=name)


def test_the_planner_is_there_and_warm(load):
    controller, told = load("good", planner="dreamer")
    assert controller.thinker is not None
    assert any("halving planner of 4 x 5: 256 recorded plans" in line for line in told)
    counts = controller.thinker.counts.as_dict()
    assert set(counts.values()) == {0}, "the warm-up counts for nothing"
    assert controller.thinker.latency.count == 0
    assert load("plain")[0].thinker is None
    assert load("plain", planner="auto")[0].thinker is None
    assert load("bad", planner="auto")[0].thinker is None
    assert load("bad", planner="dreamer", planner_force=True)[0].thinker is not None


@pytest.mark.parametrize(
    ("which", "values", "naming"),
    [
        ("good", {"planner": "muzero"}, "is of kind dreamer: planner can be dreamer, auto or none, not muzero"),
        ("plain", {"planner": "dreamer"}, "no planner"),
        ("bad", {"planner": "dreamer"}, "its planner does not pay"),
        ("good", {"planner": "auto", "planner_simulations": 8}, "no simulations: planner_simulations must be 0"),
        ("good", {"planner": "auto", "planner_budget_ms": 1e4}, "planner_budget_ms 10000 exceeds the control period"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(load, which, values, naming):
    with pytest.raises(UserError, match=naming) as refused:
        load(which, **values)
    assert "\n" not in str(refused.value)


def test_nothing_stays_of_an_agent_that_does_not_load(planned, monkeypatch):
    closed = []
    monkeypatch.setattr(loading, "start_controller", lambda *_, **given: (_ for _ in ()).throw(UserError("no")))
    real = PlannerRequest.open
    monkeypatch.setattr(PlannerRequest, "open", lambda *a, **k: closed.append(real(*a, **k)) or closed[-1])
    chosen = given(bundle=str(planned["good"]), allow_unsigned=True, planner="dreamer")
    with ExitStack() as undo, pytest.raises(UserError):
        loading.load_agent(chosen, undo, print)
    assert len(closed[0].engine.outputs) == 0
