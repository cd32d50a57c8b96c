"""The whole way in seconds: learn a little, export, check parity, run in real time, report; then eval and run again."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from robot_wm.errors import UserError
from robot_wm.training.one_writer import only_writer
from robot_wm.zoo.catalog import Zoo
from robot_wm_export.quickstart import _clear


def robot_wm(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "robot_wm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    run = tmp_path_factory.mktemp("quickstart")
    done = robot_wm("quickstart", "--run-dir", str(run), "--time-limit-s", "15", "--json")
    assert done.returncode == 0, done.stderr
    return run, json.loads(done.stdout)


def test_it_leaves_a_report_with_its_pictures_and_a_bundle(quickstart):
    run, report = quickstart
    assert json.loads((run / "report.json").read_text()) == report
    page = (run / "report.html").read_text()
    assert len(re.findall(r'src="data:image/png;base64,iVBOR', page)) == 3 + (find_spec("sklearn") is not None)
    for title in ("Learning curve", "Imagined and real", "Controller latency"):
        assert title in page
    assert report["updates"] > 0
    assert report["episodes"] == 10
    assert report["realtime"]["realtime"] is True
    assert report["realtime"]["ticks"] > 10
    assert {row["graph"] for row in report["parity"]["rows"]} == {"policy.op17.onnx", "policy.onnx"}
    assert (run / "agent.rwm" / "manifest.json").is_file()
    assert str(run) not in (run / "agent.rwm" / "manifest.json").read_text()
    lineage = json.loads((run / "agent.rwm" / "manifest.json").read_text())["lineage"]
    assert 0 < lineage["steps"] <= report["env_steps"]
    assert lineage["checkpoint"] == f"step_{lineage['steps']:09d}"
    assert lineage["evaluation"] == {} or 0 < lineage["evaluation"]["env_steps"] <= lineage["steps"]


def test_at_the_end_the_zoos_quadruped_walks_or_it_is_told_why_not(quickstart):
    run, report = quickstart
    page, walked = (run / "report.html").read_text(), report["walk"]
    assert walked["agent"] == "zoo:a1_velocity"
    assert "A walking A1, from the zoo" in page
    there_is_one = "a1_velocity" in Zoo.shipped().names()
    assert ("left_out" not in walked) == there_is_one == ('src="data:image/gif;base64,' in page)
    if there_is_one:
        assert walked["seconds"] == 20
        assert walked["falls"] == 0
        assert walked["times_real_time"] > 0
    else:
        assert "there is no such agent" in walked["left_out"]
        assert f"Left out: {walked['left_out']}" in page


def test_the_checkpoint_and_the_bundle_are_the_same_agent(quickstart):
    run, _ = quickstart
    common = ("--episodes", "3", "--json")
    torch_side = json.loads(robot_wm("eval", "--checkpoint", str(run / "train"), *common).stdout)
    bundle_side = json.loads(robot_wm("eval", "--bundle", str(run / "agent.rwm"), *common).stdout)
    keys = {"return_mean", "return_std", "success_rate", "episodes", "backend"}
    for result in (torch_side, bundle_side):
        assert keys <= result.keys()
        assert (result["episodes"], result["backend"], result["success_rate"]) == (3, "pybullet", None)
    # The same starts, and the same steps learned from.
    assert torch_side["lengths"] == bundle_side["lengths"]
    assert torch_side["env_steps"] == bundle_side["env_steps"] > 0


def test_a_time_in_which_nothing_can_be_learned_is_told_in_one_line(tmp_path):
    done = robot_wm("quickstart", "--run-dir", str(tmp_path), "--time-limit-s", "0.001")
    assert done.returncode == 2
    assert "were too short to learn anything" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_second_one_does_not_overwrite_the_first(quickstart):
    run, _ = quickstart
    done = robot_wm("quickstart", "--run-dir", str(run))
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert (run / "report.json").is_file()


def test_a_folder_in_which_one_still_trains_is_not_cleared(tmp_path):
    with only_writer(tmp_path / "train"):
        (tmp_path / "train" / "metrics.jsonl").touch()
        with pytest.raises(UserError, match="trains here; wait for its end"):
            _clear(tmp_path, force=True)
        assert (tmp_path / "train" / "metrics.jsonl").exists()
    _clear(tmp_path, force=True)
    assert not (tmp_path / "train").exists()


def test_eval_refuses_another_task(quickstart):
    run, _ = quickstart
    done = robot_wm("eval", "--bundle", str(run / "agent.rwm"), "--task", "cartpole_swingup", "--episodes", "1")
    assert done.returncode == 2
    assert "made for another agent" in done.stderr
