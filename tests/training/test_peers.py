"""Every way in which a process beside the learner can end or be told to: the run hears of it, saves and ends."""

import itertools
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from robot_wm.errors import StoppedError
from robot_wm.training import actor_process, batched_evaluation, checkpoint, stopping
from robot_wm.training.actor_process import ProcessCollector
from robot_wm.training.env_pool import EnvPool
from robot_wm.training.loop import Trainer
from robot_wm.training.peers import PeerTerminatedError

TOYS = Path(__file__).parent
COUNTER = dict(task="gym:toy_envs:toys/Counter-v0", task_options={"observation": "proprio", "length": 10**9}, envs=1)


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.syspath_prepend(str(TOYS))


@pytest.fixture
def collector(tiny):
    """Makes an actor process for a tiny agent; it is closed in the end."""
    made = []

    def make(**changes):
        trainer = Trainer(tiny(actor="process", **COUNTER | changes))
        made.append(ProcessCollector(trainer.config, trainer.spec, trainer.agent, seed=3))
        return made[0], trainer

    yield make
    for one in made:
        one.close()


def steps_of(collector, count):
    found = []
    while len(found) < count:
        found += collector.poll()
    return found


def actor_pid():
    (child,) = [child for child in multiprocessing.active_children() if child.name == "robot-wm actor"]
    return child.pid


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_whose_actor_has_been_killed_or_told_to_end_is_saved(tiny, number):
    trainer = Trainer(tiny(steps=100_000, actor="process", checkpoint_every_steps=100_000, **COUNTER))

    def kill(running: Trainer) -> None:
        if running.state.env_steps and not killed:
            killed.append(running.state.env_steps)
            os.kill(actor_pid(), number)

    killed: list[int] = []
    if number == signal.SIGKILL:
        with pytest.raises(RuntimeError, match=r"actor process died \(exit code -9\)"):
            trainer.train(kill)
    else:
        trainer.train(kill)
        assert trainer.stopped_by == "signal"
    assert checkpoint.read_state(checkpoint.latest_path(trainer.run)).env_steps >= killed[0]
    assert not multiprocessing.active_children()


def test_a_simulator_process_that_is_told_to_end_ends_the_run_as_if_it_had_been_told(tiny):
    trainer = Trainer(tiny(steps=100_000, processes=1, **COUNTER))

    def tell(running: Trainer) -> None:
        if running.state.env_steps == 10:
            for child in multiprocessing.active_children():
                child.terminate()

    assert trainer.train(tell).env_steps >= 10
    assert trainer.stopped_by == "signal"


def test_a_pool_tells_that_its_process_was_told_to_end():
    with EnvPool(COUNTER["task"], COUNTER["task_options"], processes=1) as pool:
        pool.reset()
        (worker,) = multiprocessing.active_children()
        worker.terminate()
        worker.join()
        with pytest.raises(PeerTerminatedError, match="simulator process of environments 0"):
            pool.step(np.zeros((1, 2), np.float32))


def test_an_actor_killed_in_the_middle_of_a_message_is_noticed(collector):
    actor, trainer = collector()
    actor.publish(trainer.agent, policy="0", random=True, steps_permitted=1000)
    writer = os.open(f"/proc/self/fd/{actor._arrivals.fileno()}", os.O_WRONLY)  # another end of the actor's pipe
    while select.select([], [writer], [], 0.0)[1]:  # until nothing more fits into it
        assert multiprocessing.active_children(), "the actor has ended"
        time.sleep(0.01)
    os.close(writer)
    os.kill(actor_pid(), signal.SIGKILL)
    assert 0 < len(steps_of(actor, 5)) < 1000
    with pytest.raises(RuntimeError, match="died"):
        steps_of(actor, 1000)


def test_a_full_disk_at_the_end_leaves_no_actor_behind(tiny, monkeypatch):
    trainer = Trainer(tiny(steps=70, actor="process", **COUNTER))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer.store, "flush", full)
    with pytest.raises(OSError, match="No space left"):
        trainer.train()
    assert not multiprocessing.active_children()


def test_an_actor_whose_learner_is_killed_ends_and_so_do_its_simulators(tmp_path):
    script = """
import os, sys, psutil
from robot_wm.training.config import TrainConfig
from robot_wm.training.loop import Trainer
def tell(run):
    if run.state.env_steps:
        print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)
        sys.stdin.read()
if __name__ == "__main__":
    Trainer(TrainConfig(task="gym:toy_envs:toys/Counter-v0", task_options={"observation": "proprio"},
        run_dir=sys.argv[1], actor="process", processes=1, dreamer={"size": "nano"}, device="cpu")).train(tell)
"""
    file = tmp_path / "learner.py"
    file.write_text(script)
    command = [sys.executable, str(file), str(tmp_path / "run")]
    environment = os.environ | {"PYTHONPATH": str(TOYS)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, env=environment
    ) as learner:
        pids = [int(pid) for pid in learner.stdout.readline().split()]
        assert len(pids) >= 2
        learner.kill()
    while any(Path(f"/proc/{pid}").exists() for pid in pids):  # fails by never ending
        time.sleep(0.05)


def test_an_actor_that_does_not_end_is_killed(collector, monkeypatch):
    monkeypatch.setattr(actor_process, "_CLOSE_ACTOR_S", 0.5)
    actor, trainer = collector(
        task="gym:toy_envs:toys/Faulty-v0", task_options={"fault": "stall", "observation": "proprio"}
    )
    actor.publish(trainer.agent, policy="0", random=True, steps_permitted=1000)
    steps_of(actor, 1)  # the next one but one sleeps for a minute
    actor.close()
    assert not multiprocessing.active_children()


def test_the_actor_acts_with_the_weights_that_it_was_given_last(collector):
    actor, trainer = collector()
    steps = itertools.count(1)

    def deter(policy):
        """Of one step more, with these weights."""
        allowed, found = next(steps), []
        while not found:
            actor.publish(trainer.agent, policy=policy, random=False, steps_permitted=allowed)
            found = actor.poll()
        assert found[0].policy == policy
        return found[0].stored["deter"].astype(float)

    for _ in range(4):
        before = deter("1")
    assert np.abs(before).max() > 0.01
    for parameter in trainer.agent.parameters():
        parameter.data.zero_()
    # All weights are zero: a candidate of 0, and of the old state 1 - sigmoid(-1) stays.
    after = deter("2")
    np.testing.assert_allclose(after, 0.7310586 * before, atol=1e-3)
    # What the learner writes into the shared vector is not acted on before it is published.
    actor._weights.fill_(0.3)
    np.testing.assert_allclose(deter("2"), 0.7310586 * after, atol=1e-3)


def test_an_evaluation_without_end_is_cut_and_hears_that_it_shall_stop(tiny, monkeypatch):
    config = tiny(steps=100, prefill_steps=40, eval_every_steps=60, eval_episodes=2, eval_episode_steps=7, **COUNTER)
    trainer = Trainer(config)
    assert trainer.train().evaluation["lengths"] == [7, 7]
    step, asked = EnvPool.step, []

    def tell(pool, actions):
        asked.append(1)
        if len(asked) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(pool, actions)

    endless = config.model_copy(update={"steps": 1000, "eval_episode_steps": 10**9})
    monkeypatch.setattr(batched_evaluation.EnvPool, "step", tell)
    trainer = Trainer(endless, resume=True)
    state = trainer.train()
    assert (trainer.stopped_by, len(asked), state.env_steps) == ("signal", 5, 120)
    assert state.evaluation["env_steps"] == 60  # the one before
    with pytest.raises(StoppedError):
        batched_evaluation.evaluate(trainer.agent, config.task, config.task_options, episodes=1, go_on=lambda: False)


@pytest.mark.parametrize("processes", [0, 1])
def test_a_simulator_that_hangs_does_not_keep_a_run_from_ending(tiny, monkeypatch, processes):
    monkeypatch.setattr(stopping, "PATIENCE_S", 0.2)
    monkeypatch.setattr("robot_wm.training.env_pool.CLOSE_TIMEOUT_S", 0.2)
    faulty = dict(task="gym:toy_envs:toys/Faulty-v0", task_options={"fault": "stall", "observation": "proprio"}, envs=1)
    trainer = Trainer(tiny(**faulty, processes=processes))

    def tell(running: Trainer) -> None:
        if running.state.env_steps == 1:
            os.kill(os.getpid(), signal.SIGTERM) if processes else signal.raise_signal(signal.SIGINT)

    # A step more is under way where simulators have a process of their own; then comes the one that hangs.
    monkeypatch.setattr(stopping.StopRequest, "heard", lambda stop: False)
    state = trainer.train(tell)
    assert (trainer.stopped_by, state.env_steps) == ("signal", 1 + processes)
