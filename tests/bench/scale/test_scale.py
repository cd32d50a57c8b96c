"""``robot-wm bench scale``: what it prints, the run behind it, and the processor time that it counts."""

import json
import os
import subprocess
import sys
import time

import pytest

from robot_wm.training.cluster import collector
from robot_wm_bench.scale import law
from robot_wm_bench.scale.command import KNOBS, bench_scale
from robot_wm_bench.scale.spent import tree_cpu_s

SMALL = dict(
    batch_size=2, batch_length=4, envs=2, train_ratio=0.5, collectors=(2,), seconds=0.2, parts_seconds=0.5,
    cluster_task="cartpole_balance", cluster_size="nano", cluster_envs=2, cluster_train_ratio=(32.0,),
    hosts=(1, 1000), ranks=(1,), update_ms=5.0,
)  # fmt: skip


def test_the_law_has_the_collectors_own_numbers():
    assert law.ROUNDS == collector._ROUNDS
    assert law.PUBLISHING_SHARE == collector._ENCODING_SHARE


def test_prints_what_was_measured_beside_what_was_calculated(capsys, tmp_path):
    """A train ratio so low that an update takes more steps than collectors may be ahead by is no standstill."""
    bench_scale(json=True, plot=tmp_path / "scale.png", **SMALL)
    found = json.loads(capsys.readouterr().out)
    parts = found["parts"]
    assert (parts["envs"], parts["steps_per_update"]) == (2, 16)
    assert all(value > 0 for name, value in parts.items() if not name.endswith("_cores"))
    # Weights are float32, and a round on the wire holds its observations at least.
    assert parts["weights_bytes"] > 4e5
    assert parts["round_bytes"] > 2 * 4 * 4
    (row,) = found["rows"]
    assert row["collectors"] == 2
    assert row["updates"] >= 20
    assert row["env_steps"] / row["updates"] == pytest.approx(16, rel=0.5)
    assert row["env_steps_per_s"] > 0
    assert 0 < row["cores_got"] <= (os.cpu_count() or 1) * 1.2
    assert row["error"] == pytest.approx(row["estimate"] / row["env_steps_per_s"] - 1, abs=1e-2)
    assert [(one["hosts"], one["ranks"], one["train_ratio"]) for one in found["projected"]] == [
        (1, 1, 32.0),
        (1000, 1, 32.0),
    ]
    for one in found["projected"]:
        assert one["knob"] == KNOBS[one["wall"]]
        assert one["env_steps_per_s"] == pytest.approx(min(one["walls"].values()), abs=1)
    assert found["cluster_parts"]["update_s"] == 5e-3
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_processor_time_is_that_of_the_whole_tree():
    spins = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass\n"
    parent = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {spins!r}])\ntime.sleep(60)"
    before = tree_cpu_s()
    process = subprocess.Popen([sys.executable, "-c", parent])
    deadline = time.monotonic() + 60
    try:
        while tree_cpu_s(process.pid) < 0.4 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert 0.4 <= tree_cpu_s(process.pid) < 5
        assert tree_cpu_s() - before >= 0.4
        assert tree_cpu_s(2**22 + 1) == 0
    finally:
        process.kill()
        process.wait()
