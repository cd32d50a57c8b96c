"""`robot-wm export` and `robot-wm bench tick`, as a user calls them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from robot_wm.cli import run
from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.learner import DreamerLearner
from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training import checkpoint
from robot_wm.training.config import TrainConfig
from robot_wm_export.planner.gate import GATE_SEED


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with one checkpoint of a new agent."""
    folder = tmp_path_factory.mktemp("run")
    dreamer = {"size": "nano", "deter": 32, "hidden": 8, "stoch": 4, "classes": 3, "units": 16, "blocks": 4}
    config = TrainConfig.model_validate({"task": "cartpole_balance", "dreamer": dreamer, "run_dir": folder})
    env = make_env(config.task)
    spec = agent_spec(env)
    env.close()
    generator = torch.Generator().manual_seed(0)
    agent = DreamerAgent(config.settings, spec.model_inputs(), spec.action_dim, False, generator=generator)
    state = checkpoint.RunState(config=config, agent_spec=spec, env_steps=1234, replay_version=5, git_commit="abc")
    checkpoint.save(folder, state, DreamerLearner(agent, config.settings, "cpu").state_dict(), {}, keep=1)
    return folder


def test_export_signs_packs_and_reports(trained, out, capsys):
    key = out.parent / "robot.pem"
    assert run(["export", "generate-key", "--out", str(key), "--json"]) == 0
    public = json.loads(capsys.readouterr().out)["public_key"]
    arguments = ["export", "--checkpoint", str(trained), "--out", str(out), "--sign", str(key), "--zip", "--json"]
    assert run([*arguments, "--bundle-version", "7"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["signed"]
    assert (result["checkpoint"], result["steps"]) == (str(checkpoint.latest_path(trained)), 1234)
    # For one seed the bundle and its checkpoint play the same episodes.
    seeded = ["--episodes", "3", "--seed", "5", "--json"]
    played = []
    for what in (["--checkpoint", str(trained)], ["--bundle", str(out)]):
        assert run(["eval", *what, *seeded]) == 0
        played.append(json.loads(capsys.readouterr().out))
    assert len(set(played[0]["returns"])) == 3
    assert played[0]["lengths"] == played[1]["lengths"]
    assert played[0]["returns"] == pytest.approx(played[1]["returns"], abs=1e-2)
    assert result["parity_ticks"] == 256
    assert [row["graph"] for row in result["rows"]] == ["policy.op17.onnx", "policy.onnx"]
    for path in (result["bundle"], result["zip"]):
        with Bundle.open(path, public) as bundle:
            lineage = bundle.manifest.lineage
            assert (lineage.steps, lineage.replay_version, lineage.git_commit) == (1234, 5, "abc")
            assert lineage.config["task"] == "cartpole_balance"
            bundle.manifest.require_version(7, origin="it")
            with pytest.raises(UserError, match="it: bundle_version 7 is older than this robot's min_bundle_version 8"):
                bundle.manifest.require_version(8, origin="it")


def test_export_takes_the_checkpoint_that_is_asked_for_and_names_it(trained, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    best = checkpoint.latest_path(folder)
    checkpoint.mark_best(folder, best)
    newest = checkpoint.folder(folder) / "step_000009999"
    shutil.copytree(best, newest)
    file = newest / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"env_steps": 9999}))
    for flags, taken, steps in (([], best, 1234), (["--which", "latest"], newest, 9999)):
        bundle = tmp_path / f"{steps}.rwm"
        assert run(["export", "--checkpoint", str(folder), "--out", str(bundle), *flags, "--json"]) == 0
        said = capsys.readouterr()
        assert json.loads(said.out)["checkpoint"] == str(taken)
        assert ("the newest checkpoint is step_000009999" in said.err) == (taken == best)
        with Bundle.open(bundle) as opened:
            assert opened.manifest.lineage.steps == steps
        assert run(["eval", "--checkpoint", str(folder), "--episodes", "1", *flags, "--json"]) == 0
        said = capsys.readouterr()
        evaluated = json.loads(said.out)
        assert (evaluated["checkpoint"], evaluated["env_steps"]) == (str(taken), steps)
        assert ("the newest checkpoint is step_000009999" in said.err) == (taken == best)


def test_export_writes_precisions_and_eval_runs_them(trained, out, capsys):
    arguments = ["export", "--checkpoint", str(trained), "--out", str(out), "--precision", "fp16,int8", "--json"]
    assert run(arguments) == 0
    rows = {row["graph"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert set(rows) == {"policy.op17.onnx", "policy.onnx", "policy.fp16.onnx", "policy.int8.onnx"}
    for row in rows.values():
        assert row["size_bytes"] > 0
        assert row["free_running_flips"] <= row["free_running_draws"]
        assert row["free_running_action_divergence"] >= 0
    assert rows["policy.fp16.onnx"]["largest_error"] > rows["policy.op17.onnx"]["largest_error"]
    evaluate = ["eval", "--bundle", str(out), "--episodes", "1", "--seed", "5", "--json"]
    returns = []
    for precision in ("fp32", "fp16", "int8"):
        assert run([*evaluate, "--precision", precision]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["precision"] == precision
        returns.append(result["return_mean"])
    assert returns[1] == pytest.approx(returns[0], rel=0.1)
    assert len(set(returns)) == 3  # each graph was really the one that ran


def test_the_seed_is_the_planners_too(trained, out, monkeypatch):
    asked = []

    def export_agent(*_, planner, **__):
        asked.append(planner.seed)
        raise UserError("enough")

    monkeypatch.setattr("robot_wm_export.export.export_agent", export_agent)
    for seed in ("0", "7"):
        given = ["export", "--checkpoint", str(trained), "--out", str(out), "--planner", "flat", "--seed", seed]
        assert run(given) == 2
    assert asked == [GATE_SEED, GATE_SEED + 7]


def test_only_a_bundle_has_precisions_and_only_a_run_has_checkpoints(trained, capsys):
    assert run(["eval", "--checkpoint", str(trained), "--precision", "fp16"]) == 2
    assert "--precision: for --bundle only" in capsys.readouterr().err
    assert run(["eval", "zoo:cartpole_balance", "--which", "latest"]) == 2
    assert "--which latest: of a run's checkpoints; it goes with --checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["eval --checkpoint x", "run x", "export --checkpoint x --out y", "quickstart", "train"]
)
@pytest.mark.parametrize("seed", ["-1", str(2**31), str(2**63), "9" * 30])
def test_a_seed_that_no_generator_takes_is_one_line(command, seed, capsys):
    assert run([*command.split(), "--seed", seed]) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(r"robot-wm: .*\n", told)
    assert re.search(r"--seed. Must be|seed: Input should be", told)
    assert seed in told


@pytest.mark.parametrize(
    ("change", "naming"),
    [
        ({"--precision": "fp8"}, "--precision: 'fp8'"),
        ({"--calibration": "store"}, "--calibration: only int8 is calibrated"),
        ({"--precision": "int8", "--calibration": "nostore"}, "nostore"),
        ({"--checkpoint": "nowhere"}, "nowhere"),
        ({"--out": "agent"}, ".rwm"),
        ({"--sign": "nokey.pem"}, "nokey.pem"),
        ({"--rollout-ticks": "10"}, "256"),
        ({"--seed": "-1"}, "seed"),
    ],
)
def test_bad_input_is_one_line_and_code_2(trained, out, capsys, change, naming):
    given = {"--checkpoint": str(trained), "--out": str(out)} | change
    assert run(["export", *(word for pair in given.items() for word in pair)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert naming in captured.err
    assert "Traceback" not in captured.err
    assert not out.exists()


def test_bench_tick_gives_every_engine_its_row(capsys):
    assert run(["bench", "tick", "--sizes", "nano", "--ticks", "60", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["engine"] for row in result["rows"]] == ["torch_eager", "onnxruntime", "controller"]
    for row in result["rows"]:
        assert (row["size"], row["obs"]) == ("nano", "proprio")
        assert 0 < row["p50_us"] <= row["p99_us"] <= row["p999_us"] <= row["max_us"]
    assert set(result["controller_over_onnxruntime"]) == {"nano"}
    assert run(["bench", "tick", "--sizes", "nano,giant"]) == 2
    assert "giant" in capsys.readouterr().err
