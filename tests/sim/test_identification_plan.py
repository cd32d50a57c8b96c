"""A plan of excitation stays within every limit, and a plan or a log that does not fit is refused by name."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import NAMES, Planted, Waving, hang, logged

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.limits import command_limits
from robot_wm.runtime.safety import SafetyConfig
from robot_wm.spec import JointRole
from robot_wm.tasks import make_env
from robot_wm_sim.identification.command import app
from robot_wm_sim.identification.joint_log import read_joint_log
from robot_wm_sim.identification.plan import LARGEST, Plan, make_plan
from robot_wm_sim.identification.plan_bundle import write_plan_bundle
from robot_wm_sim.identification.play import play
from robot_wm_sim.robots.panda import ARM, PANDA
from robot_wm_sim.spaces import command_bounds


@pytest.fixture(scope="module")
def waving(tmp_path_factory):
    return Waving(tmp_path_factory.mktemp("waving"))


@settings(deadline=None)
@given(duration_s=st.floats(2.5, 60.0), seed=st.integers(0, 1000))
def test_position_commands_stay_within_half_of_every_limit(waving, duration_s, seed):
    plan = make_plan(waving.scene.robot, waving.spec, duration_s=duration_s, seed=seed)
    assert plan.duration_s == pytest.approx(duration_s, abs=0.02)
    np.testing.assert_allclose(plan.command[[0, -1]], 0.3)  # from home and back
    assert np.abs(plan.command - 0.3).max() <= LARGEST + 1e-6
    limits = command_limits(waving.spec)
    change = np.abs(np.diff(plan.command, axis=0)).max(axis=0)
    assert (change <= 0.55 * limits.step).all()
    assert (plan.command.std(axis=0) > 0.02).all()


@pytest.mark.parametrize("rate", [2.0, 100.0])
def test_velocity_commands_obey_limits_of_speed_and_change(rate, tmp_path):
    task = Waving(tmp_path, mode="velocity", rate=rate)
    plan = make_plan(task.scene.robot, task.spec, duration_s=20.0)
    limits = command_limits(task.spec)
    assert (np.abs(plan.command) <= 0.5 * limits.high).all()
    assert (np.abs(np.diff(plan.command, axis=0)) <= limits.step).all()
    way = np.cumsum(plan.command, axis=0) / 50.0
    assert np.abs(way).max() < 1.1 * LARGEST
    assert (plan.command.std(axis=0) > 0.01).all()


def test_the_commands_of_a_shipped_arm_are_within_what_its_agent_may_ask_for():
    with make_env("panda_reach") as env:
        spec = env.unwrapped.task.spec
    plan = make_plan(PANDA, spec, duration_s=20.0)
    low, high = command_bounds(spec.action)
    assert plan.joints == ARM
    assert ((low <= plan.command) & (plan.command <= high)).all()


def test_an_effort_holds_no_joint_in_its_range(tmp_path):
    task = Waving(tmp_path, mode="effort")
    with pytest.raises(UserError, match="its action is an effort"):
        make_plan(task.scene.robot, task.spec, duration_s=10.0)


@pytest.mark.parametrize("duration_s", [0.5, 61.0, float("nan")])
def test_a_plan_has_a_sensible_length(waving, duration_s):
    with pytest.raises(UserError, match="at most 60 s"):
        make_plan(waving.scene.robot, waving.spec, duration_s=duration_s)


def test_a_plan_comes_back_from_its_file(waving, tmp_path):
    plan = make_plan(waving.scene.robot, waving.spec, duration_s=3.0)
    plan.write(tmp_path / "plan.csv")
    read = Plan.read(tmp_path / "plan.csv", waving.spec)
    assert (read.rate_hz, read.joints) == (plan.rate_hz, plan.joints)
    np.testing.assert_allclose(read.command, plan.command, atol=1e-6)


def test_the_columns_of_a_plan_go_by_name(waving, tmp_path):
    """As everywhere: never by place."""
    plan = make_plan(waving.scene.robot, waving.spec, duration_s=3.0)
    plan.write(tmp_path / "plan.csv")
    lines = [line.split(",") for line in (tmp_path / "plan.csv").read_text().splitlines()]
    (tmp_path / "turned.csv").write_text("\n".join(",".join(reversed(line)) for line in lines))
    read = Plan.read(tmp_path / "turned.csv", waving.spec)
    np.testing.assert_allclose(read.command, plan.command, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda text: text.replace("elbow", "knee", 1), "its columns are time_s, shoulder, knee, wing"),
        (lambda text: text.replace("0.020000,", "0.025000,", 1), "time_s is not on the beat of 50 Hz"),
        (lambda text: text + "2.000000,0.3,0.3,5.0\n", r"line 102: wing is 5 rad, outside of its limits \[-2, 2\]"),
        (lambda text: text + "2.000000,0.3,nan,0.3\n", "line 102: a value is not finite"),
        (lambda text: text + "2.000000,0.3,left,0.3\n", "a row is not 4 numbers"),
        (lambda text: text + "2.000000,0.3\n", "a row is not 4 numbers"),
        (lambda text: "", "no plan"),
        (lambda text: text.splitlines()[0], "no commands"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_by_name(change, line, waving, tmp_path):
    path = tmp_path / "plan.csv"
    plan = make_plan(waving.scene.robot, waving.spec, duration_s=2.5)
    replace(plan, command=plan.command[:100]).write(path)
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=f"{re.escape(str(path))}: .*{line}"):
        Plan.read(path, waving.spec)


def test_a_log_is_what_was_played(waving, tmp_path):
    plan = make_plan(waving.scene.robot, waving.spec, duration_s=4.0)
    log, _ = logged(waving, Planted(), "mujoco", tmp_path, plan=plan)
    assert log.joints == NAMES
    (fit,), (held_out,) = log.fit, log.held_out
    assert len(fit.time_s) == 150  # three quarters
    np.testing.assert_array_equal(fit.command, plan.command.astype(np.float32)[:150])
    np.testing.assert_array_equal(held_out.command, plan.command.astype(np.float32))
    np.testing.assert_allclose(held_out.time_s, np.arange(200) / 50.0, atol=1e-9)
    # The first second hangs on how it began, and of the whole the last quarter judges.
    assert (np.flatnonzero(fit.counted)[0], np.flatnonzero(held_out.counted)[0]) == (38, 150)
    np.testing.assert_allclose(fit.position[0], 0.3, atol=1e-6)


def without_roles(task):
    fields = tuple(field.model_copy(update={"role": None}) for field in task.spec.observations)
    task.spec = task.spec.model_copy(update={"observations": fields})
    return task


def recorded(task, folder, duration_s):
    env = hang(task, Planted(), "mujoco")
    try:
        plan = make_plan(task.scene.robot, task.spec, duration_s=3.0)
        return play(env, replace(plan, command=plan.command[: round(duration_s * 50)]), folder)[0]
    finally:
        env.close()


def test_a_log_in_which_joints_cannot_be_seen_is_refused(tmp_path):
    path = recorded(without_roles(Waving(tmp_path)), tmp_path / "log", 3.0)
    with pytest.raises(
        UserError, match=f"no field has role {JointRole.POSITION.value}.*joint_position, joint_velocity"
    ):
        read_joint_log(path)


def test_a_log_that_is_too_short_is_refused(waving, tmp_path):
    path = recorded(waving, tmp_path, 1.0)
    with pytest.raises(UserError, match=r"has no 2 s in a row .* \(50 ticks\)"):
        read_joint_log(path)


def test_a_log_of_another_agent_is_refused_naming_what_differs(waving, tmp_path):
    path = recorded(waving, tmp_path, 2.5)
    other = waving.spec.model_copy(update={"control_rate_hz": 25.0})
    with pytest.raises(UserError, match="made for another agent: control_rate_hz"):
        read_joint_log(path, expected=other)


def test_of_a_long_log_the_first_minute_is_read(waving, tmp_path):
    plan = make_plan(waving.scene.robot, waving.spec, duration_s=40.0)
    long = replace(plan, command=np.concatenate([plan.command, plan.command]))
    log, _ = logged(waving, Planted(), "mujoco", tmp_path, plan=long)
    assert log.duration_s == pytest.approx(60.0, abs=0.1)


def run(*words: str) -> None:
    app([str(word) for word in words], result_action="return_value")


def test_the_command_plans_plays_and_identifies(tmp_path, capsys):
    """On a robot of the shop, from the plan to the folder with its page."""
    plan, out = tmp_path / "plan.csv", tmp_path / "out"
    run("identify", "--plan", plan, "--task", "a1_velocity", "--plan-s", "3")
    run("play", plan, "--task", "a1_velocity", "--record", tmp_path / "log", "--backend", "mujoco")
    (log,) = (tmp_path / "log").glob("*.mcap")
    run("identify", log, "--out", out, "--backend", "mujoco", "--processes", "1", "--over", "mild")
    assert sorted(path.name for path in out.iterdir()) == [
        "estimates.png",
        "fits.png",
        "identified.html",
        "identified.json",
        "identified.yaml",
    ]
    assert "Fits over data" in (out / "identified.html").read_text()
    with make_env("a1_velocity", randomisation=str(out / "identified.yaml")) as env:
        _, info = env.reset(seed=0)
    assert info["randomisation"]["action_latency_s"] < 0.003
    assert 0.95 < info["randomisation"]["motor_strength"] < 1.05
    assert 0.6 <= info["randomisation"]["friction"] <= 1.1  # of mild


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["identify"], "give a log to identify from, or --plan FILE"),
        (["identify", "log.mcap", "--plan", "p.csv"], "give a log to identify from, or --plan FILE"),
        (["identify", "log.mcap"], "--out says where"),
        (["identify", "--plan", "p.csv"], "--task or --bundle says for which robot"),
        (["identify", "--plan", "p.csv", "--task", "gym:gymnasium:CartPole-v1"], "cannot be hung up"),
        (["identify", "none.mcap", "--out", "out"], "none.mcap: cannot be read"),
        (["play", "none.csv", "--task", "panda_reach", "--record", "log"], "none.csv: no plan"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(words, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=line):
        run(*words)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_is_a_bundle_that_the_controller_plays(waving, tmp_path):
    """Tick for tick the plan, behind the controller's own safety; at its end the last command stays."""
    plan = make_plan(waving.scene.robot, waving.spec, duration_s=3.0)
    write_plan_bundle(tmp_path / "plan.rwm", plan, waving.spec)
    with Bundle.open(tmp_path / "plan.rwm") as bundle, Controller(bundle, config=SafetyConfig(soft_start_s=0.0)) as it:
        for _ in range(2):  # again from its start, as an episode that begins
            it.disable()
            it.enable()
            it.start_episode()
            observation = {"joint_position": np.full(3, 0.3, np.float32), "joint_velocity": np.zeros(3, np.float32)}
            told = []
            for tick in range(160):
                command = it.step(observation, tick / 50.0)
                assert not command.fault_bits
                told.append(command.command.copy())
                observation["joint_position"] = told[-1]
            np.testing.assert_allclose(told[:150], plan.command, atol=1e-6)
            np.testing.assert_allclose(told[150:], np.tile(plan.command[-1], (10, 1)), atol=1e-6)
