"""`robot-wm export leapp` and `robot-wm import leapp`, as a user calls them."""

from __future__ import annotations

import json

from robot_wm.cli import run
from robot_wm.runtime.bundle import Bundle
from robot_wm.tasks import agent_spec, make_env
from tests.export.leapp.conftest import write_cartpole


def test_a_zoo_agent_goes_and_comes_back(tmp_path, capsys):
    package, back = tmp_path / "pole.leapp", tmp_path / "pole.rwm"
    assert run(["export", "leapp", "zoo:cartpole_balance", "--out", str(package), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["checked_by"].startswith("leapp ")
    assert (written["differing_draws"], written["description"]) == (0, "pole.yaml")
    assert any("limits" in row["lost"] for row in written["rows"])
    assert run(["import", "leapp", str(package), "--out", str(back), "--task", "a1_stand"]) == 2
    assert "it is the same bundle again" in capsys.readouterr().err
    assert run(["import", "leapp", str(package), "--out", str(back), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same_bundle"] is True
    with Bundle.open(back) as opened:
        assert opened.manifest.kind == "dreamer"


def test_a_stranger_s_policy_is_imported_and_evaluated(cartpole_package, tmp_path, capsys):
    out = tmp_path / "pole.rwm"
    words = ["import", "leapp", str(cartpole_package), "--out", str(out)]
    assert run(words) == 2
    assert "--task, --spec, --robot: give one of them" in capsys.readouterr().err
    assert run([*words, "--task", "cartpole_balance", "--rate", "60"]) == 2
    assert "frequency is 50 Hz, --rate 60 Hz" in capsys.readouterr().err
    assert not out.exists()
    assert run([*words, "--task", "cartpole_balance", "--json"]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert (result["kind"], result["states"], result["same_bundle"]) == ("leapp", "actor_state_in", False)
    assert "TensorRT was not tried with GRU" in told.err
    assert run(["eval", "--bundle", str(out), "--episodes", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["return_mean"] > 480  # of 500: it stands


def test_a_robot_without_a_task_takes_it(a1_package, tmp_path, capsys):
    out = tmp_path / "a1.rwm"
    words = ["import", "leapp", str(a1_package), "--out", str(out), "--robot", "a1", "--rate", "50", "--json"]
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out)["robot"] == "a1"
    with Bundle.open(out) as opened:
        assert opened.spec.firmware.name == "a1_kp20_kd05"
        assert opened.manifest.lineage.model_dump()["leapp"]["played"] is None


def test_an_output_that_nobody_wants_is_left_out_when_it_is_named(tmp_path, capsys):
    package = write_cartpole(tmp_path / "pole", beside="confidence")
    words = ["import", "leapp", str(package), "--out", str(tmp_path / "pole.rwm"), "--task", "cartpole_balance"]
    assert run(words) == 2
    assert "--ignore confidence leaves it out" in capsys.readouterr().err
    assert run([*words, "--ignore", "confidence", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "leapp"


def test_an_agent_spec_s_file_takes_the_place_of_a_task(cartpole_package, tmp_path, capsys):
    out, told = tmp_path / "pole.rwm", tmp_path / "spec.json"
    with make_env("cartpole_balance") as env:
        spec = agent_spec(env)
    told.write_text(spec.model_dump_json())
    words = ["import", "leapp", str(cartpole_package), "--out", str(out), "--spec", str(told)]
    assert run([*words, "--task", "cartpole_balance"]) == 2
    assert "--task, --spec, --robot: give one of them" in capsys.readouterr().err
    assert run(words) == 0
    with Bundle.open(out) as opened:
        assert opened.spec == spec
        assert opened.manifest.lineage.model_dump()["leapp"]["played"] is None


def test_our_own_package_is_somebody_else_s_where_that_is_said(tmp_path, capsys):
    package, out = tmp_path / "pole.leapp", tmp_path / "again.rwm"
    assert run(["export", "leapp", "zoo:cartpole_balance", "--out", str(package)]) == 0
    capsys.readouterr()
    words = ["import", "leapp", str(package), "--out", str(out), "--task", "cartpole_balance", "--foreign", "--json"]
    assert run(words) == 2  # what a tick tells beside its action is nothing to another's robot
    assert "output policy/value: has no kind" in capsys.readouterr().err
    assert run([*words, *(f"--ignore={name}" for name in ("value", "surprise"))]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["kind"], result["same_bundle"]) == ("leapp", False)
