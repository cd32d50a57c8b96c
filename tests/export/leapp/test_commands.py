"""`robot-wm export leapp` and `robot-wm import leapp`, as a user calls them."""

from __future__ import annotations

import json

from robot_wm.cli import run
from robot_wm.runtime.bundle import Bundle


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
