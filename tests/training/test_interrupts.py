"""Ctrl-C reaches every process of a terminal's group: those beside the learner must not hear it, whatever they do."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from robot_wm.training.actor_process import ProcessCollector
from robot_wm.training.env_pool import EnvPool
from robot_wm.training.loop import Trainer
from robot_wm.training.peers import unheard_interrupts


def never_hears_ctrl_c(pid: int) -> bool:
    """Whether the kernel holds SIGINT back from the process: not once it runs our code, but from its start."""
    (mask,) = [line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigBlk" in line]
    return bool(int(mask, 16) >> (signal.SIGINT - 1) & 1)


@pytest.fixture(autouse=True)
def hearing():
    """What a terminal's processes do on Ctrl-C; those that a shell starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_process_that_starts_hears_no_ctrl_c_and_this_one_does_again():
    with unheard_interrupts():
        child = multiprocessing.get_context("spawn").Process(target=os.getpid)
        child.start()
    os.kill(child.pid, signal.SIGINT)  # long before it runs anything of ours
    child.join()
    assert child.exitcode == 0
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_simulators_and_the_actor_are_started_so(tiny, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    toy = dict(task="gym:toy_envs:toys/Counter-v0", task_options={"observation": "proprio"})
    with EnvPool(toy["task"], toy["task_options"], envs=1, processes=1) as pool:
        assert never_hears_ctrl_c(pool._workers[0]._process.pid)
    trainer = Trainer(tiny(actor="process", **toy))
    actor = ProcessCollector(trainer.config, trainer.spec, trainer.agent, seed=3)
    try:
        assert never_hears_ctrl_c(actor._process.pid)
    finally:
        actor.close()
