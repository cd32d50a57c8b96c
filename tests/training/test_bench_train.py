"""``robot-wm bench train``: the keys that others read, and the run behind them."""

import json

import pytest

from robot_wm.training.bench_train import bench_train

TINY = dict(
    size="nano",
    train_ratio=8.0,
    envs=2,
    batch_size=2,
    batch_length=4,
    device="cpu",
    threads=1,
    warm_up_seconds=0.2,
    seconds=0.5,
)


@pytest.mark.parametrize(("actor", "processes"), [("inline", 0), ("process", 1)])
def test_prints_rates_and_shares_of_a_run_that_keeps_its_train_ratio(capsys, actor, processes):
    bench_train(task="cartpole_balance", actor=actor, processes=processes, json=True, **TINY)
    result = json.loads(capsys.readouterr().out)
    assert (result["task"], result["actor"], result["processes"]) == ("cartpole_balance", actor, processes)
    assert (result["envs"], result["train_ratio"], result["device"]) == (2, 8.0, "cpu")
    assert result["wall_s"] >= 0.5
    # One update replays 2 x 4 steps, as many as a policy step asks for.
    assert result["updates_per_s"] == pytest.approx(result["updates"] / result["wall_s"], rel=0.2)
    assert result["env_steps"] > 0
    if actor == "inline":
        assert result["replayed_per_step"] == pytest.approx(8.0, rel=0.05)
    shares = [result[f"{part}_share"] for part in ("collect", "sample", "transfer", "update")]
    assert all(0 <= share < 1 for share in shares)
    assert result["update_share"] == max(shares)
    assert result["update_share"] == pytest.approx(
        result["update_ms_per_update"] * result["updates"] / 1e3 / result["wall_s"], rel=0.2
    )
    assert result["first_update_s"] > 0


def test_the_run_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", None)
    bench_train(task="cartpole_balance", processes=0, json=True, **TINY)
    assert list(tmp_path.iterdir()) == []
