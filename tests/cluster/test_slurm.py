"""The batch script: shellcheck and Slurm's options, and its own course, run in bash beside programs that stand in."""

import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import TRAIN, slurm_plan
from schemas import sbatch_options

from robot_wm.cluster.learner_words import torchrun_words, train_words
from robot_wm.cluster.render import render_slurm

PLANS = {
    "smallest": {},
    "large": dict(
        gpus=8,
        collector_hosts=64,
        partition="gpu",
        collector_partition="cpu",
        account="robots",
        venv="/opt/robot_wm",
        ray_port=7000,
    ),
    "one partition": dict(partition="all"),
}


def script(train=TRAIN, **settings) -> str:
    return render_slurm(slurm_plan(**settings), train)[0].text


def options(text: str) -> list[dict[str, str | None]]:
    """Options of each component of the job, in order."""
    components = [{}]
    for line in re.findall(r"^#SBATCH (.*)$", text, re.MULTILINE):
        if line == "hetjob":
            components.append({})
            continue
        name, _, value = line.partition("=")
        components[-1][name] = value or None
    return components


def shellcheck(text: str) -> str:
    program = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([program, "-"], input=text, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout


@pytest.mark.parametrize("plan", PLANS)
def test_shellcheck_and_slurms_manual_find_nothing(plan):
    text = script(**PLANS[plan])
    assert shellcheck(text) == ""
    assert {name for component in options(text) for name in component} <= sbatch_options()
    # Slurm reads no option after the first command.
    assert "#SBATCH" not in text[text.index("\nset -euo") :]


@pytest.mark.parametrize(
    ("fault", "planted"),
    [
        ('"$address" ]', "$address ]"),
        ('mkdir -p "$run"', "mkdir -p $ran"),
        ("fi\n", "\n"),
        ('"$learner" ||', "$lerner ||"),
    ],
)
def test_a_fault_in_the_shell_is_found(fault, planted):
    assert fault in script()
    assert shellcheck(script().replace(fault, planted, 1))


def test_an_option_that_slurm_does_not_have_is_found():
    text = script().replace("--gpus-per-node", "--gpu-per-node")
    assert {name for component in options(text) for name in component} - sbatch_options() == {"--gpu-per-node"}


def test_the_job_is_a_learner_and_its_collectors():
    learner, collectors = options(script(**PLANS["large"]))
    assert (learner["--nodes"], learner["--gpus-per-node"], learner["--partition"]) == ("1", "8", "gpu")
    assert (collectors["--nodes"], collectors["--ntasks"], collectors["--partition"]) == ("64", "64", "cpu")
    assert "--gpus-per-node" not in collectors
    assert "--requeue" in learner
    assert learner["--signal"] == "B:TERM@120"
    (_, same) = options(script(partition="all"))
    assert same["--partition"] == "all"
    assert all("--partition" not in component for component in options(script()))


@pytest.fixture
def slurm(stand_in, tmp_path):
    """``slurm(learner=…, address=…)``: the script started in bash, beside programs that stand in for Slurm's."""
    processes = []

    def start(learner="exit 0", address="10.1.2.3", **settings):
        stand_in("ip", f'echo "2: $6    inet {address}/24 brd 10.1.2.255 scope global $6"' if address else "")
        stand_in("ray", f'stat -c "%a %s" "$RAY_AUTH_TOKEN_PATH" >>{tmp_path}/token; env >{tmp_path}/ray.env')
        stand_in("scontrol")
        stand_in("torchrun", learner)
        # Kills what it runs when it is told to end, as srun 22.05 does.
        runs = (
            'while [[ "$1" == --* ]]; do shift; done\n"$@" & child=$!\n'
            "trap 'kill -KILL $child; exit 143' TERM\nwait $child"
        )
        folder = stand_in("srun", runs)
        path = tmp_path / "run.sbatch"
        path.write_text(script(run_dir=str(tmp_path / "run"), **settings))
        environment = {"PATH": f"{folder}:/usr/bin:/bin", "SLURM_JOB_ID": "42"}
        process = subprocess.Popen(
            ["bash", path], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()


def told(tmp_path, name) -> list[list[str]]:
    path = tmp_path / f"{name}.told"
    return [shlex.split(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_nodes_find_each_other_by_the_interface_and_nobody_else_has_the_token(slurm, tmp_path):
    joined = f"until grep -q -e --block {tmp_path}/ray.told; do sleep 0.05; done"
    assert slurm(joined, ray_port=7000, collectors_per_host=3).wait(timeout=30) == 0
    calls = {words[1].split("=")[0]: set(words) for words in told(tmp_path, "ray")}
    assert {"start", "--node-ip-address=10.1.2.3", "--port=7000", "--include-dashboard=false"} <= calls["--head"]
    assert {"--node-ip-address=10.1.2.3", "--num-cpus=3", "--block"} <= calls["--address"]
    assert "--address=10.1.2.3:7000" in calls["--address"]
    assert all(words[-3:] == ["ib0", "scope", "global"] for words in told(tmp_path, "ip"))
    assert set((tmp_path / "token").read_text().splitlines()) == {"600 64"}
    environment = dict(line.split("=", 1) for line in (tmp_path / "ray.env").read_text().splitlines() if "=" in line)
    assert environment["RAY_AUTH_MODE"] == "token"
    assert (environment["NCCL_SOCKET_IFNAME"], environment["GLOO_SOCKET_IFNAME"]) == ("ib0", "ib0")
    assert not list((tmp_path / "run").glob(".ray-token*")), "the token ends with the job"


def test_an_interface_without_an_address_ends_the_job_before_anything_listens(slurm, tmp_path):
    process = slurm(address="")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert re.fullmatch(r"interface ib0 of \S+ has no IPv4 address\n", said)
    assert told(tmp_path, "ray") == []


@pytest.mark.parametrize("has_checkpoint", [False, True])
def test_a_job_that_starts_again_goes_on(slurm, tmp_path, has_checkpoint):
    if has_checkpoint:
        (tmp_path / "run/checkpoints/step_000001000").mkdir(parents=True)
    assert slurm(learner="exit 5").wait(timeout=30) == 5, "the learner's code is the job's"
    (words,) = told(tmp_path, "torchrun")
    plan = slurm_plan(run_dir=str(tmp_path / "run"))
    address = ["--ray-address", "10.1.2.3:6379"]
    expected = torchrun_words(plan) + train_words(plan, TRAIN) + address + ["--resume"] * has_checkpoint
    assert ["torchrun", *words] == expected
    assert told(tmp_path, "scontrol") == []


def test_before_the_time_limit_the_learner_saves_and_the_job_queues_again(slurm, tmp_path):
    saves = f"trap 'sleep 0.3; touch {tmp_path}/saved; exit 1' TERM\ntouch {tmp_path}/up\nwhile :; do sleep 0.05; done"
    process = slurm(learner=saves)
    deadline = time.monotonic() + 20
    while not (tmp_path / "up").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)  # to the batch shell alone, as B: has it
    assert process.wait(timeout=30) == 1
    assert (tmp_path / "saved").exists()
    assert told(tmp_path, "scontrol") == [["requeue", "42"]]
