"""``robot-wm bench learner``: the keys that others read, and refusals."""

import json

import pytest
import torch

from robot_wm.errors import UserError
from robot_wm_bench.learner import bench_learner


@pytest.mark.parametrize(("obs", "params"), [("proprio", 180_487), ("image", 225_418)])
def test_prints_one_object_with_its_units(capsys, obs, params):
    bench_learner(size="nano", obs=obs, updates=2, batch_size=2, batch_length=3, horizon=2, threads=1, json=True)
    result = json.loads(capsys.readouterr().out)
    named = ("params", "median_ms", "p10_ms", "p90_ms", "first_step_s", "peak_mib", "device", "size", "obs")
    assert set(named) <= result.keys()
    assert (result["params"], result["device"], result["size"], result["obs"]) == (params, "cpu", "nano", obs)
    assert 0 < result["p10_ms"] <= result["median_ms"] <= result["p90_ms"]
    assert result["first_step_s"] > 0
    assert result["peak_mib"] > 0


def test_a_muzero_tells_updates_searches_and_self_play(capsys):
    small = {"agent": "muzero", "size": "nano", "updates": 2, "batch_size": 4, "num_simulations": 2, "threads": 1}
    bench_learner(**small, reanalyse=0.5, envs=3, json=True)
    result = json.loads(capsys.readouterr().out)
    named = ("agent", "size", "batch_size", "batch_length", "num_simulations", "reanalyse", "envs")
    assert [result[name] for name in named] == ["muzero", "nano", 4, 11, 2, 0.5, 3]
    assert "horizon" not in result
    assert result["updates_per_s"] == pytest.approx(1e3 / result["median_ms"], rel=0.01)
    assert result["self_play_steps_per_s"] == pytest.approx(3e3 / result["acting_ms"], rel=0.01)
    # Two of four windows, at the six positions of an unroll.
    assert result["reanalysed_states_per_s"] == pytest.approx(12 * result["updates_per_s"], rel=0.01)
    bench_learner(**small, reanalyse=0.0, json=True)
    assert json.loads(capsys.readouterr().out)["reanalysed_states_per_s"] == 0


def test_an_agent_that_searches_nothing_again_tells_no_such_rate(capsys):
    bench_learner(size="nano", updates=1, batch_size=2, batch_length=3, horizon=2, threads=1, json=True)
    result = json.loads(capsys.readouterr().out)
    assert (result["agent"], result["horizon"]) == ("dreamer", 2)
    assert not {"reanalysed_states_per_s", "num_simulations", "reanalyse"} & result.keys()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"agent": "muzero", "horizon": 3}, "--horizon: no setting of --agent muzero"),
        ({"num_simulations": 3}, "--num-simulations: no setting of --agent dreamer"),
        ({"agent": "abacus"}, "unknown agent 'abacus'"),
    ],
)
def test_an_option_of_another_agent_is_refused(options, told):
    with pytest.raises(UserError, match=told):
        bench_learner(**options, updates=1)


def test_matmul_only_gives_products_and_their_share(capsys):
    settings = {"size": "nano", "updates": 2, "batch_size": 2, "batch_length": 3, "horizon": 2, "threads": 1}
    bench_learner(**settings, matmul_only=True, json=True)
    result = json.loads(capsys.readouterr().out)
    assert result["ratio"] == pytest.approx(result["median_ms"] / result["matmul_only_ms"], rel=0.01)
    assert result["products"] > 100
    assert 0 < result["gflop"] < 1


def test_matmul_only_is_refused_off_the_cpu(monkeypatch):
    monkeypatch.setattr("robot_wm.training.device.place", torch.device)
    with pytest.raises(UserError, match="--matmul-only"):
        bench_learner(size="nano", device="cuda", matmul_only=True)


@pytest.mark.parametrize("device", ["cuda:99", "abacus", "meta"])
def test_device_that_is_not_there_is_refused(device):
    with pytest.raises(UserError, match=f"--device {device}"):
        bench_learner(size="nano", device=device, updates=1)
