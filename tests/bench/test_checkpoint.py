"""``robot-wm bench checkpoint``: the keys that others read, and that they are of what was written."""

import json

import pytest

from robot_wm_bench.checkpoint import bench_checkpoint

TINY = dict(task="cartpole_balance", size="nano", steps=4000, envs=2, every_steps=400, episode_steps=200, json=True)


@pytest.fixture
def bench(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(**options):
        bench_checkpoint(**TINY | options)
        assert list(tmp_path.iterdir()) == []
        return json.loads(capsys.readouterr().out)

    return run


def test_bytes_follow_the_latents_that_were_rewritten(bench):
    few, many = bench(train_ratio=1), bench(train_ratio=200)
    assert (few["task"], few["train_ratio"], few["steps"], few["checkpoints"]) == ("cartpole_balance", 1, 4000, 4)
    assert few["first_mb"] == many["first_mb"]
    assert few["later_mb"] < 0.5 * few["first_mb"]
    # Nearly every latent was rewritten, and then nearly all of them are written.
    assert many["later_mb"] == pytest.approx(many["first_mb"], rel=0.1)
    for result in (few, many):
        assert result["first_mb"] < result["whole_mb"]  # which has the steps, too
        assert result["on_disk_mb"] < 2.2 * result["first_mb"]
        assert min(result[f"{part}_s"] for part in ("first", "later", "restart", "whole")) > 0
