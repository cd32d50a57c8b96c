"""Runs in processes of their own: done once, never twice, and a failed one takes no other along."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robot_wm.baselines import runs
from robot_wm.baselines.runs import LOG, RESULT, RunPlan, finished, run_all
from robot_wm.errors import UserError
from robot_wm_bench.baselines import bench_baselines

pytest.importorskip("stable_baselines3")


@pytest.fixture
def make_plan(small):
    def make(name="sac", **changes):
        body = dict(
            name=name,
            seed=0,
            task="cartpole_balance",
            task_options={},
            steps=80,
            trial_every_steps=100,
            history=2,
            algorithm=small(name) if name != "dreamer" else None,
            train_settings={},
            processes=0,
            device="cpu",
            threads=1,
            time_limit_s=None,
        )
        return RunPlan(**body | changes)

    return make


@pytest.fixture
def no_process(monkeypatch):
    def start(plan, folder):
        raise AssertionError(f"{plan.label} is done again")

    monkeypatch.setattr(runs, "_start", start)


def write(plan, folder, **result):
    folder.mkdir(parents=True, exist_ok=True)
    body = {"plan": plan.model_dump(mode="json"), "stopped_by": "steps"} | result
    (folder / RESULT).write_text(json.dumps(body))


def test_a_run_is_done_once_and_a_failed_one_keeps_nobody_from_ending(make_plan, small, tmp_path, monkeypatch):
    broken = make_plan(seed=1, algorithm=small("sac", no_such_setting=1))
    told = []
    with pytest.raises(UserError, match=r"sac_seed1; see .*log\.txt"):
        run_all([broken, make_plan()], tmp_path, jobs=2, on_result=lambda plan, result: told.append(plan.label))
    assert told == ["sac_seed0"]
    assert "no_such_setting" in (tmp_path / "sac_seed1" / LOG).read_text()
    assert not (tmp_path / "sac_seed1" / RESULT).exists()
    result = json.loads((tmp_path / "sac_seed0" / RESULT).read_text())
    assert result["steps"] == 80
    assert result["versions"]["stable-baselines3"]
    curve = (tmp_path / "sac_seed0" / "episodes.csv").read_text()
    monkeypatch.setattr(runs, "_start", lambda plan, folder: pytest.fail("it is done again"))
    assert run_all([make_plan()], tmp_path, jobs=1, on_result=lambda *_: pytest.fail("nothing new")) == [result]
    assert (tmp_path / "sac_seed0" / "episodes.csv").read_text() == curve


def test_a_run_ends_with_the_command_that_started_it_even_when_that_is_killed(make_plan, tmp_path):
    plan = make_plan(steps=10**9)
    script = (
        "import sys; from pathlib import Path; from robot_wm.baselines.runs import *\n"
        "if __name__ == '__main__':\n"
        "    run_all([RunPlan.model_validate_json(sys.argv[1])], Path(sys.argv[2]), jobs=1, on_result=print)\n"
    )
    (tmp_path / "main.py").write_text(script)
    command = [sys.executable, str(tmp_path / "main.py"), plan.model_dump_json(), str(tmp_path)]
    with subprocess.Popen(command) as parent:
        curve = tmp_path / plan.label / "episodes.csv"
        wait_for(curve.exists)
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        run = next(pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
        parent.kill()
    wait_for(lambda: not Path(f"/proc/{run}/cmdline").exists() or not Path(f"/proc/{run}/cmdline").read_bytes())


def wait_for(holds, seconds=120):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "still not"
        time.sleep(0.05)


def test_another_plans_result_is_refused_and_names_what_differs(make_plan, tmp_path):
    plan = make_plan()
    write(plan, tmp_path / plan.label)
    with pytest.raises(UserError, match=r"steps: 80 != 90"):
        finished(make_plan(steps=90), tmp_path / plan.label)
    with pytest.raises(UserError, match=r"history: 2 != 3"):
        run_all([make_plan(history=3)], tmp_path, jobs=1, on_result=lambda *_: None)
    assert finished(make_plan(device="auto", threads=2, processes=3), tmp_path / plan.label) is not None


@pytest.mark.parametrize(
    ("had_s", "has_s", "why", "final"),
    [
        (60.0, 60.0, "time limit", True),
        (60.0, 30.0, "time limit", True),
        (60.0, 90.0, "time limit", False),
        (60.0, None, "time limit", False),
        (60.0, 90.0, "steps", True),
        (None, 30.0, "steps", True),
    ],
)
def test_a_run_that_its_time_limit_cut_is_done_again_with_a_longer_one(make_plan, tmp_path, had_s, has_s, why, final):
    write(make_plan(time_limit_s=had_s), tmp_path / "run", stopped_by=why)
    assert (finished(make_plan(time_limit_s=has_s), tmp_path / "run") is not None) is final


def test_a_damaged_result_is_refused_and_a_missing_one_is_no_result(make_plan, tmp_path):
    assert finished(make_plan(), tmp_path) is None
    (tmp_path / RESULT).write_text("{")
    with pytest.raises(UserError, match=RESULT):
        finished(make_plan(), tmp_path)


def test_dreamers_settings_come_from_the_preset_and_the_command_wins(make_plan, tmp_path):
    settings = {"envs": 3, "train_ratio": 7, "stop_at_return": 1.0, "eval_every_steps": 10, "steps": 5}
    plan = make_plan("dreamer", train_settings=settings, seed=4, processes=2, time_limit_s=9.0)
    config = plan.train_config(tmp_path)
    assert (config.envs, config.train_ratio, config.steps, config.seed, config.processes) == (3, 7.0, 80, 4, 2)
    assert (config.stop_at_return, config.eval_every_steps, config.time_limit_s) == (None, None, 9.0)
    assert plan.envs == 3


@pytest.mark.usefixtures("no_process")
def test_the_command_reports_finished_runs_and_draws_their_curves(tmp_path, capsys, make_plan):
    from robot_wm.baselines.settings import load_algorithms

    for seed in (0, 1):
        plan = make_plan(
            seed=seed, algorithm=load_algorithms()["sac"], steps=300, history=6, trial_every_steps=2500, device="auto"
        )
        walk = {"step": 200, "robot_minutes": 4.0 + seed, "falls": 3, "episodes": 5} if seed else None
        figures = dict(robot_minutes=6.0, falls=7 + seed, return_last=1.0, steps_per_s=9.0, wall_s=33.0)
        write(plan, tmp_path / plan.label, name="sac", seed=seed, envs=1, first_walk=walk, steady_walk=None, **figures)
        (tmp_path / plan.label / "episodes.csv").write_text("robot_minutes,return,falls\n1,2,3\n2,3,4\n")
    bench_baselines(algorithms="sac", seeds="0,1", task="cartpole_balance", steps=300, out=tmp_path, json=True)
    printed = json.loads(capsys.readouterr().out)
    row = printed["rows"][0]
    assert (row["algorithm"], row["seeds"], row["walk_seeds"], row["steady_seeds"]) == ("sac", 2, 1, 0)
    assert (row["falls"], row["walk_robot_minutes"]) == (7.5, None)  # half of the seeds never walked
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    whole = json.loads((tmp_path / "results.json").read_text())
    assert [run["seed"] for run in whole["runs"]] == [0, 1]
    assert len(whole["unfair"]) >= 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithms": "sac,td3"}, "unknown 'td3'"),
        ({"seeds": "0,one"}, "--seeds"),
        ({"seeds": "-1"}, "--seeds"),
        ({"task": "cartpole_balance", "option": {"observation": "image"}}, "image"),
        ({"task": "cartpole_balance", "option": {"colour": "red"}}, "colour"),
        ({"algorithms": "dreamer", "dreamer": {"envs": "0"}}, r"--dreamer: envs"),
        ({"preset": "nothing", "algorithms": "dreamer"}, "unknown preset"),
    ],
)
@pytest.mark.usefixtures("no_process")
def test_bad_input_is_one_line_before_any_run(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        bench_baselines(out=tmp_path, **{"algorithms": "sac", **options})
