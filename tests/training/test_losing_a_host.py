"""A whole host of a cluster dies, raylet and all, not only a process on it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SLOW = "three hosts of Ray's on one machine take a minute and more of a busy one's time; ROBOT_WM_HOSTS=1 runs it"


@pytest.mark.skipif(not os.environ.get("ROBOT_WM_HOSTS"), reason=SLOW)
def test_a_host_that_dies_costs_its_running_episodes_and_is_named_and_a_new_one_is_used(tmp_path, tiny_dreamer):
    command = [sys.executable, str(TESTS / "losing_a_host.py"), str(tmp_path / "run"), tiny_dreamer.model_dump_json()]
    env = {**os.environ, "PYTHONPATH": str(TESTS), "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert sorted(told["hosts"]) == [False, True], "one collector a host"
    index, node = told["lost"]
    first = told["lines"][0]
    assert first.startswith(f"collector {index} (host ")
    assert f"node {node}" in first
    assert "its 1 running episodes are lost; another one takes its place" in first
    assert told["alone"] == [1 - index], "the other one goes on meanwhile"
    assert told["back_on_the_third"]
    assert told["begins_anew"]
    assert told["new_seed"]
